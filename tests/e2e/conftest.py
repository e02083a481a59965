"""Fixtures: real clusters, and puerta processes whose health is checked when they end.

PUERTA_BIN      the binary (build/puerta-asan)
PUERTA_WORKERS  workers of each puerta that does not say otherwise (1)
PUERTA_SOAK     seconds of each test under load (4)
"""
import os
import signal
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "rig"))
import puerta as rig  # noqa: E402
from cluster import Cluster, Node  # noqa: E402

SOAK = float(os.environ.get("PUERTA_SOAK", "4"))
running = []  # puertas of the test that runs, for its report


def pytest_configure(config):
    config.addinivalue_line("markers", "threads: worth running with several workers under ThreadSanitizer")
    if not os.access(rig.BINARY, os.X_OK):
        pytest.exit(f"no binary at {rig.BINARY}: build it (make asan) or set PUERTA_BIN", returncode=2)
    rig.raise_file_limit()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends this run: everything it started is stopped


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        for p in running:
            report.sections.append((f"puerta pid {p.pid} on port {p.port}", p.tail()))


class Starter:
    """Starts puertas and looks at each when it ends."""

    def __init__(self):
        self.mine = []

    def __call__(self, nodes, **kwargs):
        """One Redis listener before a cluster or a list of seeds; kwargs as in Puerta.for_cluster."""
        return self.keep(rig.Puerta.for_cluster(nodes, **kwargs))

    def text(self, text, **kwargs):
        return self.keep(rig.Puerta(text, **kwargs))

    def keep(self, p):
        self.mine.append(p)
        running.append(p)
        return p

    def end(self):
        wrong = [w for w in (p.stop() for p in self.mine) if w]
        for p in self.mine:
            running.remove(p)
        assert not wrong, "\n".join(wrong)


@pytest.fixture
def start():
    s = Starter()
    yield s
    s.end()


@pytest.fixture(scope="session")
def cluster():
    """3 masters, 3 replicas; tests leave its slots and processes as they are."""
    with Cluster() as c:
        yield c


@pytest.fixture(scope="module")
def own_cluster():
    """One that the tests of a module may harm and must repair. A lost node does not take the others with it."""
    with Cluster(node_timeout=2500, options={"cluster-require-full-coverage": "no"}) as c:
        yield c


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """A redis-server without cluster mode: what Redis itself would say."""
    n = Node(tmp_path_factory.mktemp("plain"), {}, cluster=False)
    yield n
    n.stop()


@pytest.fixture(scope="module")
def proxy(cluster):
    """A puerta before the cluster, shared by a module's tests."""
    s = Starter()
    yield s(cluster)
    s.end()
