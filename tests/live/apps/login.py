"""An app with a login: Flask's session, CSRF protection, compression, pages and hooks of its own."""

from __future__ import annotations

import os

from flask import Flask, Response, g, redirect, request, session
from flask.typing import ResponseReturnValue
from flask_compress import Compress
from flask_wtf.csrf import CSRFProtect, generate_csrf

from comet import Comet


app = Flask(__name__)
app.secret_key = "for the tests"
comet = Comet(app)
csrf = CSRFProtect(app)
Compress(app)
if "TEST_EXEMPT" in os.environ:
    csrf.exempt(comet.blueprint)


@app.before_request
def load_user() -> ResponseReturnValue | None:
    g.user = session.get("user")
    if "X-Read" in request.headers:
        request.get_data()  # as hooks do that log, or check a signature
    if "wall" in request.args and g.user is None:
        return redirect("/login")
    return None


@comet.authorize
def allowed(action: str, channels: list[str]) -> bool:
    if action == "subscribe":
        return (g.user is not None or request.args.get("ticket") == "let-me-in") and "secret" not in channels
    if request.authorization and request.authorization.type == "basic":
        return request.authorization.password == "pass"
    return action == "publish" and g.user == "editor"


@app.post("/login")
@csrf.exempt
def login() -> str:
    session["user"] = request.form["user"]
    return "welcome"


@app.get("/token")
def token() -> str:
    return generate_csrf()


@app.get("/inside")
def inside() -> dict[str, int]:
    return {"streams": len(comet.worker.controller.streams), "files": len(os.listdir("/proc/self/fd"))}


@app.get("/boom")
def boom() -> str:
    raise ValueError("boom")


@app.errorhandler(404)
def lost(error: Exception) -> ResponseReturnValue:
    return "the app's own 404", 404


@app.errorhandler(500)
def broken(error: Exception) -> ResponseReturnValue:
    return "the app's own 500", 500


@app.after_request
def mark(response: Response) -> Response:
    if "break" in request.args:
        raise RuntimeError("a hook that fails")
    response.headers["X-App"] = "mine"
    response.headers["Access-Control-Allow-Origin"] = "https://partner.example"
    return response
