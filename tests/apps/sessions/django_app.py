"""An ordinary Django application in one file: users and login of django.contrib.auth, sessions of
django.contrib.sessions, nothing that knows of a proxy. Sessions lie in the Redis cache; with DATABASE_URL, as Django has it
by default, in the database, beside its users. SESSION_ENGINE names another place, such as both (`cached_db`)."""

import os
import tempfile
from urllib.parse import urlsplit

import django
from django.conf import settings

DATABASE = urlsplit(os.environ.get("DATABASE_URL", ""))
SQLITE = {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(tempfile.mkdtemp(), "users.sqlite3")}
POSTGRES = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": DATABASE.path[1:],
    "HOST": DATABASE.hostname,
    "PORT": DATABASE.port,
    "USER": DATABASE.username,
}

settings.configure(
    SECRET_KEY=os.environ["SESSION_SECRET"],
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    SESSION_ENGINE="django.contrib.sessions.backends."
    + os.environ.get("SESSION_ENGINE", "db" if DATABASE.scheme else "cache"),
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": os.environ["REDIS_URL"],
        }
    },
    DATABASES={"default": POSTGRES if DATABASE.scheme else SQLITE},
    USE_TZ=True,
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
)
django.setup()

from django.contrib.auth import authenticate, get_user_model, update_session_auth_hash  # noqa: E402
from django.contrib.auth import login as log_in, logout as log_out  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.servers.basehttp import WSGIServer, run  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse, HttpResponseForbidden, HttpResponseRedirect, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402


def login(request):
    if request.method != "POST":
        return HttpResponse('<form method="post"><input name="username"><input name="password"><button></button></form>')
    user = authenticate(request, username=request.POST.get("name"), password=request.POST.get("password"))
    if user is None:
        return HttpResponseForbidden()
    log_in(request, user)
    return HttpResponseRedirect("/")


def logout(request):
    log_out(request)
    return HttpResponseRedirect("/login")


def password(request):
    """Changes the user's password; this session goes on, as in Django's own view."""
    request.user.set_password(request.POST["password"])
    request.user.save()
    update_session_auth_hash(request, request.user)
    return HttpResponseRedirect("/")


def index(request):
    """What the application knows by itself, and what it was sent."""
    return JsonResponse({"user": request.user.pk, "headers": list(request.headers.items())})


urlpatterns = [path("login", login), path("logout", logout), path("password", password), path("", index)]

call_command("migrate", verbosity=0)
for name in ("ana", "ben"):
    get_user_model().objects.create_user(name, password="demo")
run("127.0.0.1", int(os.environ["PORT"]), get_wsgi_application(), threading=True, server_cls=WSGIServer)
