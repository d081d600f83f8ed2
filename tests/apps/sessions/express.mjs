// An ordinary Express application: its own login form, its own sessions in Redis, or with DATABASE_URL in Postgres; nothing
// that knows of a proxy.

import PgStore from 'connect-pg-simple';
import { RedisStore } from 'connect-redis';
import express from 'express';
import session from 'express-session';
import { createClient } from 'redis';

const people = { ana: { id: 1, password: 'demo' }, ben: { id: 2, password: 'demo' } };

async function store() {
  if (process.env.DATABASE_URL) {
    return new (PgStore(session))({ conString: process.env.DATABASE_URL, createTableIfMissing: true });
  }
  const client = createClient({ url: process.env.REDIS_URL });
  await client.connect();
  return new RedisStore({ client });
}

const app = express();
app.use(express.urlencoded({ extended: false }));
app.use(session({
  store: await store(),
  secret: process.env.SESSION_SECRET,
  resave: false,
  saveUninitialized: false,
}));

app.get('/login', (request, response) => {
  response.send('<form method="post"><input name="name"><input name="password" type="password"><button>Log in</button></form>');
});

app.post('/login', (request, response, next) => {
  const person = Object.hasOwn(people, request.body.name) ? people[request.body.name] : undefined;
  if (person === undefined || request.body.password !== person.password) return response.sendStatus(403);
  request.session.regenerate((error) => {
    if (error) return next(error);
    request.session.user_id = person.id;
    request.session.save((problem) => (problem ? next(problem) : response.redirect(303, '/')));
  });
});

app.post('/logout', (request, response, next) => {
  request.session.destroy((error) => (error ? next(error) : response.redirect(303, '/login')));
});

// What the application knows by itself, and what it was sent.
app.get('/', (request, response) => {
  const headers = [];
  for (let i = 0; i < request.rawHeaders.length; i += 2) headers.push(request.rawHeaders.slice(i, i + 2));
  response.json({ user: request.session.user_id ?? null, headers });
});

app.listen(Number(process.env.PORT), '127.0.0.1');
