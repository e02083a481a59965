"""Hash slots (CRC16/XMODEM of the hash tag) and keys that fall into wanted ones. Standard library only."""
import itertools
from binascii import crc_hqx  # the same polynomial and start value


def slot(key):
    if isinstance(key, str):
        key = key.encode()
    a = key.find(b"{")
    if a >= 0:
        b = key.find(b"}", a + 1)
        if b > a + 1:
            key = key[a + 1 : b]
    return crc_hqx(key, 0) & 16383


def keys_in(wanted, prefix="k"):
    """Endless different keys whose slot is in wanted (a range or a set)."""
    return (k for k in (f"{prefix}{i}" for i in itertools.count()) if slot(k) in wanted)


def key_in(wanted, prefix="k"):
    return next(keys_in(wanted, prefix))


if __name__ == "__main__":
    assert slot("123456789") == 0x31C3 and slot("{user}.a") == slot("user") and slot("{}a") != slot("")
