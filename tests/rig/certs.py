"""A CA and certificates of its own, for tests, by the openssl command line."""
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path


def openssl(*args):
    subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)


def hello_bytes():
    """What a client in TLS says first."""
    ctx, out = ssl.create_default_context(), ssl.MemoryBIO()
    try:
        ctx.wrap_bio(ssl.MemoryBIO(), out, server_hostname="127.0.0.1").do_handshake()
    except ssl.SSLWantReadError:
        return out.read()


class Authority:
    """A CA in a directory of its own: ca.pem, and what issue() makes."""

    def __init__(self, name="Test CA"):
        self.dir = Path(tempfile.mkdtemp(prefix="certs-"))
        self.ca = self.dir / "ca.pem"
        self.key = self.dir / "ca.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", f"/CN={name}",
                "-keyout", self.key, "-out", self.ca)

    def issue(self, name, names=("localhost", "127.0.0.1"), days=10, rsa=False):
        """A certificate for some host names and addresses; Pair. days < 0: it has expired."""
        pair = Pair(self.dir / f"{name}.pem", self.dir / f"{name}.key", self.ca)
        request, extensions = self.dir / f"{name}.csr", self.dir / f"{name}.ext"
        alt = ",".join(("IP:" if n.replace(".", "").isdigit() else "DNS:") + n for n in names)
        extensions.write_text(f"subjectAltName={alt}\nextendedKeyUsage=serverAuth,clientAuth\n")
        how = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        openssl("req", "-newkey", *how, "-nodes", "-subj", f"/CN={name}", "-keyout", pair.key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.key, "-CAcreateserial", "-days", days, "-extfile", extensions,
                "-out", pair.cert)
        return pair

    def client(self, pair=None, server_name_checked=True, **options):
        """An ssl context for clients that trust this CA."""
        ctx = ssl.create_default_context(cafile=self.ca)
        ctx.check_hostname = server_name_checked
        if pair:
            ctx.load_cert_chain(pair.cert, pair.key)
        for k, v in options.items():
            setattr(ctx, k, v)
        return ctx

    def end(self):
        shutil.rmtree(self.dir)


class Pair:
    """A certificate, its key, and the CA they came from."""

    def __init__(self, cert, key, ca):
        self.cert, self.key, self.ca = cert, key, ca

    def options(self, **more):
        """As tls of a listener."""
        return {"cert": str(self.cert), "key": str(self.key)} | more

    def copy_to(self, cert, key):
        shutil.copy(self.cert, cert)
        shutil.copy(self.key, key)
