"""A ticker to try: an ActiveMQ of its own in a temporary folder, comet, and a program that sends prices to a queue.

.venv/bin/python examples/queue/run.py        Ctrl-C ends all of it.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import stomp


HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CONFIG = Path(os.environ.get("COMET_CONFIG", HERE / "comet.toml")).resolve()
TRIGGER = tomllib.loads(CONFIG.read_text())["triggers"][0]
URL = urlsplit(TRIGGER["url"])
ACTIVEMQ = Path("/usr/share/activemq")

PRICES = {"Coffee": 2.4, "Tea": 2.1, "Cocoa": 6.3, "Sugar": 0.9, "Vanilla": 38.0}


@contextmanager
def running(*command, **options):
    """A program that is told to end when this is over."""
    # In a session of its own: Ctrl-C is for this program, which ends the others one after the other.
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def activemq(folder):
    """An ActiveMQ that only this machine can reach."""
    if shutil.which("java") is None or not ACTIVEMQ.exists():
        sys.exit("This example needs ActiveMQ: apt-get install activemq openjdk-17-jre-headless")
    folders = {"home": ACTIVEMQ, "base": folder, "data": folder, "conf": HERE, "classpath": HERE}
    options = [f"-Dactivemq.{name}={place}" for name, place in folders.items()]
    options += [f"-Dstomp.port={URL.port}", f"-Djava.io.tmpdir={folder}", "-Xmx128m"]
    start = ["-jar", f"{ACTIVEMQ}/bin/activemq.jar", "start", f"xbean:file:{HERE}/activemq.xml"]
    with open(f"{folder}/log", "w") as log, running("java", *options, *start, stdout=log, stderr=log) as process:
        while process.poll() is None:
            try:
                socket.create_connection((URL.hostname, URL.port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        else:
            sys.exit(f"ActiveMQ does not start. Is the port {URL.port} in use?")
        yield


def send(connection):
    """A price has changed. What is persistent is neither lost with ActiveMQ nor with comet."""
    symbol = random.choice(list(PRICES))
    PRICES[symbol] *= random.uniform(0.99, 1.0101)
    tick = {"symbol": symbol, "price": round(PRICES[symbol], 2)}
    headers = {"content-type": "application/json", "persistent": "true"}
    connection.send(TRIGGER["destination"], json.dumps(tick), headers=headers)


def main():
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    comet = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "page:app"]
    bind = os.environ.get("COMET_BIND", "127.0.0.1:4071")
    with tempfile.TemporaryDirectory() as folder, activemq(folder):
        connection = stomp.Connection12([(URL.hostname, URL.port)])
        connection.connect(wait=True)
        environ = {
            **os.environ,
            "COMET_CONFIG": str(CONFIG),
            "COMET_CHECKPOINTS": f"{folder}/checkpoints.json",
            "PYTHONPATH": str(ROOT),
        }
        with running(*comet, cwd=HERE, env=environ) as process:
            print(f"Open http://{bind}/ticker  (Ctrl-C ends it)", flush=True)
            while process.poll() is None:
                send(connection)
                time.sleep(random.uniform(0.05, 0.4))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
