"""An ordinary Flask application: its own login form, its own sessions in Redis through Flask-Session, nothing that
knows of a proxy."""

import os

from flask import Flask, abort, jsonify, redirect, request, session
from flask_session import Session
from redis import Redis

PEOPLE = {"ana": (1, "demo"), "ben": (2, "demo")}

app = Flask(__name__)
app.config.update(
    SECRET_KEY=os.environ["SESSION_SECRET"],
    SESSION_TYPE="redis",
    SESSION_REDIS=Redis.from_url(os.environ["REDIS_URL"]),
)
Session(app)


@app.get("/login")
def form():
    return '<form method="post"><input name="name"><input name="password" type="password"><button>Log in</button></form>'


@app.post("/login")
def login():
    user, password = PEOPLE.get(request.form.get("name"), (None, None))
    if user is None or request.form.get("password") != password:
        abort(403)
    session.clear()
    session["user_id"] = user
    return redirect("/", 303)


@app.post("/logout")
def logout():
    session.clear()
    return redirect("/login", 303)


@app.get("/")
def index():
    """What the application knows by itself, and what it was sent."""
    return jsonify(user=session.get("user_id"), headers=list(request.headers.items()))


app.run("127.0.0.1", int(os.environ["PORT"]), threaded=True)
