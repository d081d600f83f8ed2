"""An ordinary Flask application with its own login form and its own users.

What it has for Countersign: one response header where somebody logs in, out or switches, and `who` below, which
verifies the signature with http-message-signatures instead of reading a session of its own.
"""

import json
import os
import sys
from urllib.parse import unquote

from flask import Flask, abort, jsonify, redirect, render_template_string, request

sys.path.insert(0, os.environ["VERIFIERS"])
from verify import jwt_claims, message_error  # noqa: E402

KEYS = json.loads(os.environ["KEYS"])
PEOPLE = {"ana": ("1", "demo"), "ben": ("2", "demo"), "cho": ("3", "demo")}

app = Flask(__name__)


def who():
    """The context of this request, or 403 when the proxy did not sign it."""
    captured = {
        "method": request.method,
        "authority": request.host,
        "target": request.environ["RAW_URI"],
        "headers": list(request.headers.items()),
    }
    error = message_error(captured, KEYS["message"])
    if error is not None:
        app.logger.error("not from the proxy: %s", error)
        abort(403)
    context = {
        name.lower().removeprefix("x-context-"): unquote(value)
        for name, value in request.headers.items()
        if name.lower().startswith("x-context-")
    }
    if "jwt" in context:
        context["claims"] = jwt_claims(context.pop("jwt"), KEYS)
    return context


@app.get("/login")
def login_form():
    return """<form method="post"><input name="name"><input name="password" type="password"><button>Log in</button></form>"""


@app.post("/login")
def login():
    person, password = PEOPLE.get(request.form.get("name"), (None, None))
    if person is None or request.form.get("password") != password:
        return "Wrong name or password", 403
    response = redirect(request.args.get("return_to", "/"), 303)
    response.headers["countersign-session"] = f'create;user="{person}"'
    return response


@app.post("/switch/<platform>")
def switch(platform):
    response = redirect("/", 303)
    response.headers["countersign-session"] = f'platform;id="{platform}"'
    return response


@app.post("/logout")
def logout():
    response = redirect("/login", 303)
    response.headers["countersign-session"] = "end"
    return response


@app.get("/")
@app.get("/account/<path:page>")
@app.get("/dashboard")
@app.get("/caption_generation")
@app.get("/platform_management")
def page(page=""):
    return jsonify(who())


@app.get("/tab")
@app.get("/p/<platform>/tab")
def tab(platform=None):
    """A page that shows whom it was told of, and listens to what happens to the session."""
    return render_template_string(TAB, context=who(), pinned=platform is not None)


TAB = """<!doctype html>
<title>Tab</title>
<p>User <b id="user">{{ context["user-id"] }}</b> works with <b id="platform">{{ context["platform-id"] }}</b>.</p>
<p id="state">open</p>
<script>
  const events = new EventSource("/.countersign/events");
  const state = document.getElementById("state");
  events.addEventListener("hello", () => { state.textContent = "listening"; });
  events.addEventListener("platform_switched", ({ data }) => {
    if (!{{ pinned | tojson }}) document.getElementById("platform").textContent = JSON.parse(data).platform;
  });
  events.addEventListener("session_ended", ({ data }) => {
    if (JSON.parse(data).this_session) { events.close(); state.textContent = "ended"; }
  });
</script>
"""


if __name__ == "__main__":
    app.run("127.0.0.1", int(os.environ["PORT"]), threaded=True)
