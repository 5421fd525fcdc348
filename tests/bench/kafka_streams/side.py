"""Kafka Streams as a peer: built with Maven once, run with plain java."""

import hashlib
import shutil
from pathlib import Path

from tests.bench.installing import BENCH, run
from tests.bench.peer import Measure, NotMeasured, Tell, program

_HERE = Path(__file__).parent
#: Where the pom puts what Maven makes.
_BUILT = BENCH / "kafka_streams"
_POM = _HERE / "pom.xml"
_MAIN = "orderflow.bench.ReserveApp"
#: The heap; what RocksDB takes comes on top of it.
_HEAP = "-Xmx1g"


def build(tell: Tell) -> None:
    """Compile it and fetch its jars, once for each version of the sources; raises NotMeasured."""
    for needed in ("java", "mvn"):
        if shutil.which(needed) is None:
            raise NotMeasured(f"{needed} is not installed")
    stamp, wanted = _BUILT / "sources.sha256", _sources()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    tell("building the Kafka Streams app (once, about 100 MB)")
    shutil.rmtree(_BUILT, ignore_errors=True)
    run("build the Kafka Streams app", "mvn", "-q", "-B", "-f", str(_POM), "process-classes")
    stamp.write_text(wanted)


def _sources() -> str:
    files = [_POM, *sorted(path for path in (_HERE / "src").rglob("*") if path.is_file())]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def app(guarantee: str) -> Measure:
    """Return the measure of the app with a `processing.guarantee`."""
    jars = f"{_BUILT}/classes:{_BUILT}/lib/*"
    return program(
        f"Kafka Streams, {guarantee}",
        *("java", _HEAP, "-cp", jars, _MAIN, guarantee),
        # RocksDB's library is unpacked there and not left in the folder for temporary files.
        env={"ROCKSDB_SHAREDLIB_DIR": str(_BUILT)},
        transactional=guarantee != "at_least_once",
    )
