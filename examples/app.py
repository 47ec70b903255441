"""A live scoreboard: comet in an app of your own. Start it here with: gunicorn -k gevent app:app"""

import time

from flask import Flask, redirect

from comet import Comet


app = Flask(__name__)
comet = Comet(app)
goals = {"home": 0, "away": 0}
kickoff = time.monotonic()


@comet.every(1.0, channel="minute")
def minute():
    return f"minute {int(time.monotonic() - kickoff) // 60 + 1}"


@comet.authorize
def allowed(action, channels):
    return action == "subscribe" and set(channels) <= {"minute", "score"}


@app.post("/goal/<any(home, away):team>")
def goal(team):
    goals[team] += 1
    comet.publish("score", "<h1>{home}:{away}</h1>".format(**goals), type="text/html", event="goal")
    return redirect("/", 303)


@app.get("/")
def page():
    buttons = "".join(f"<form method=post action=/goal/{team}><button>{team} scores</button></form>" for team in goals)
    return f"<!doctype html><title>Score</title><iframe src=/comet/channels/minute,score/html></iframe>{buttons}"
