"""TLS before a plain server, as stunnel would: a port that decrypts and passes on. With proxy=True a PROXY header comes before TLS; headers has them."""
import asyncio
import socket
import threading

from cluster import free_port


def read_exactly(sock, n):
    out = b""
    while len(out) < n:
        piece = sock.recv(n - len(out))
        if not piece:
            raise ConnectionError("closed in the PROXY header")
        out += piece
    return out


def read_header(sock):
    """One PROXY header and not a byte more."""
    out = read_exactly(sock, 1)
    if out == b"P":
        while not out.endswith(b"\r\n"):
            out += read_exactly(sock, 1)
        return out
    out += read_exactly(sock, 15)
    return out + read_exactly(sock, int.from_bytes(out[14:16], "big"))


class TlsFront:
    """Before a port; ctx: an ssl context for servers."""

    def __init__(self, target, ctx, proxy=False):
        self.target, self.ctx, self.proxy = target, ctx, proxy
        self.headers, self.resumed = [], []
        self.tasks = set()  # the loop itself holds them weakly
        self.port = free_port()
        self.door = socket.create_server(("127.0.0.1", self.port), backlog=512)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.accepting = threading.Thread(target=self.accept, daemon=True)
        self.accepting.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def accept(self):
        while True:
            try:
                sock, _ = self.door.accept()
            except OSError:
                return
            try:
                if self.proxy:
                    sock.settimeout(20)
                    self.headers.append(read_header(sock))
            except OSError:
                sock.close()
                continue
            sock.setblocking(False)
            self.loop.call_soon_threadsafe(self.begin, sock)

    def begin(self, sock):
        task = self.loop.create_task(self.serve(sock))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def serve(self, sock):
        reader = asyncio.StreamReader(limit=1 << 20)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await self.loop.connect_accepted_socket(lambda: protocol, sock, ssl=self.ctx)
            self.resumed.append(transport.get_extra_info("ssl_object").session_reused)
            writer = asyncio.StreamWriter(transport, protocol, reader, self.loop)
            other, to = await asyncio.open_connection("127.0.0.1", self.target, limit=1 << 20)
        except OSError:
            sock.close()
            return
        await asyncio.gather(pump(reader, to), pump(other, writer))

    def end(self):
        """As a crash: nobody listens any more, connections are cut. May be called twice."""
        try:
            self.door.shutdown(socket.SHUT_RDWR)  # close alone does not wake who accepts
        except OSError:
            pass
        self.door.close()
        self.accepting.join(20)
        if not self.loop.is_running():
            return
        asyncio.run_coroutine_threadsafe(self.cancel(), self.loop).result(20)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(20)

    async def cancel(self):
        tasks = list(self.tasks)
        for t in tasks:
            t.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def pump(reader, writer):
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
