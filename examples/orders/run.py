"""A shop to try: a MariaDB of its own in a temporary folder, comet, and customers who order. Ctrl-C ends all of it.

.venv/bin/python examples/orders/run.py
"""

import getpass
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pymysql


HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CONFIG = Path(os.environ.get("COMET_CONFIG", HERE / "comet.toml")).resolve()
URL = urlsplit(tomllib.loads(CONFIG.read_text())["triggers"][0]["url"])
PROGRAMS = f"{os.environ['PATH']}:/usr/sbin"

CUSTOMERS = ["Ada", "Grace", "Kurt", "Emmy", "Søren"]
ITEMS = {"coffee": "2.40", "tea": "2.10", "apple pie": "4.50", "<b>cake</b>": "3.90"}


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
def mariadb(folder):
    """A MariaDB that only this machine can reach. Gives root's connection."""
    server = shutil.which("mariadbd", path=PROGRAMS)
    if server is None:
        sys.exit("This example needs MariaDB's server: apt-get install mariadb-server")
    common = ["--no-defaults", f"--user={getpass.getuser()}", f"--datadir={folder}/data"]
    install = ["mariadb-install-db", *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
    # A server that starts removes the temporary tables of every other one in the same folder.
    env = {**os.environ, "TMPDIR": folder}
    subprocess.run(install, check=True, stdout=subprocess.DEVNULL, env=env)
    port = ["--bind-address=127.0.0.1", f"--port={URL.port}", f"--socket={folder}/socket", "--skip-name-resolve"]
    options = [*common, *port, f"--tmpdir={folder}"]
    with open(f"{folder}/log", "w") as log, running(server, *options, stdout=log, stderr=log) as process:
        yield connect(process)


def connect(process):
    while process.poll() is None:
        try:
            return pymysql.connect(host=URL.hostname, port=URL.port, user="root", ssl_disabled=True)
        except pymysql.OperationalError:
            time.sleep(0.1)
    sys.exit(f"MariaDB does not start. Is the port {URL.port} in use?")


def order(cursor):
    """Somebody orders something, or an order is sent; in the same transaction it is told."""
    cursor.execute("SELECT id, customer FROM orders WHERE state = 'new' ORDER BY id LIMIT 1")
    waits = cursor.fetchone()
    if waits and random.random() < 0.45:
        cursor.execute("UPDATE orders SET state = 'sent' WHERE id = %s", [waits[0]])
        news = f"Order {waits[0]} is on its way to {waits[1]}."
    else:
        customer, item = random.choice(CUSTOMERS), random.choice(list(ITEMS))
        row = (customer, item, ITEMS[item])
        cursor.execute("INSERT INTO orders (customer, item, price) VALUES (%s, %s, %s)", row)
        news = f"{customer} has ordered {item}."
    cursor.execute("INSERT INTO outbox (channel, data) VALUES ('news', %s)", [news])


def main():
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    comet = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "wsgi:app"]
    bind = os.environ.get("COMET_BIND", "127.0.0.1:4071")
    with tempfile.TemporaryDirectory() as folder, mariadb(folder) as shop, shop.cursor() as cursor:
        for statement in (HERE / "shop.sql").read_text().split(";\n"):
            if statement.strip():
                cursor.execute(statement)
        environ = {**os.environ, "COMET_CONFIG": str(CONFIG), "COMET_CHECKPOINTS": f"{folder}/checkpoints.json"}
        with running(*comet, cwd=ROOT, env=environ) as process:
            print(f"Open http://{bind}/channels/news,orders/html  (Ctrl-C ends it)", flush=True)
            while process.poll() is None:
                order(cursor)
                shop.commit()
                time.sleep(random.uniform(0.3, 1.5))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
