"""A chat that is live in four ways without a line of script of its own: comet-elements.js, htmx 2, htmx 4 and Turbo.

Once, for the libraries: make client. Then start it here with: gunicorn -k gevent app:app
"""

from pathlib import Path

from flask import Flask, request, send_from_directory
from markupsafe import Markup

from comet import Comet


HERE = Path(__file__).resolve().parent
LIBRARIES = HERE.parents[1] / "build" / "client" / "node_modules"
LINE = Markup("<li>{}</li>")
STREAM = Markup('<turbo-stream action="append" target="messages"><template>{}</template></turbo-stream>')

app = Flask(__name__)
comet = Comet(app)


@comet.authorize
def allowed(action, channels):
    return action == "subscribe"


@app.post("/say")
def say():
    line = LINE.format(request.form["text"])
    comet.publish("chat", line, type="text/html")
    comet.publish("chat.turbo", STREAM.format(line), type="text/html")
    # The browser stays where it is. The forms have a frame as target: Firefox ends the streams of a page that it only
    # begins to leave, and tells nobody.
    return "", 204


@app.get("/", defaults={"name": "index"})
@app.get("/<name>")
def page(name):
    return send_from_directory(HERE / "pages", f"{name}.html")


@app.get("/libraries/<path:path>")
def library(path):
    return send_from_directory(LIBRARIES, path)
