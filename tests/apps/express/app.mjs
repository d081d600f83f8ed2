// An ordinary Express application with its own login form and its own users.
//
// What it has for Countersign: one response header where somebody logs in, out or switches, and `who` below, which
// verifies the signature with http-message-signatures instead of reading a session of its own.

import express from 'express';

import { jwtClaims, messageError } from '../../verifiers/verify.mjs';

const keys = JSON.parse(process.env.KEYS);
const people = { ana: { id: '1', password: 'demo' }, ben: { id: '2', password: 'demo' } };

const app = express();
app.use(express.urlencoded({ extended: false }));

/** Answers 403 unless the proxy signed this request; puts the context into `response.locals`. */
async function who(request, response, next) {
  const headers = [];
  for (let i = 0; i < request.rawHeaders.length; i += 2) headers.push(request.rawHeaders.slice(i, i + 2));
  const captured = { method: request.method, authority: request.headers.host, target: request.originalUrl, headers };
  const error = await messageError(captured, keys.message);
  if (error !== null) {
    console.error(`not from the proxy: ${error}`);
    return response.sendStatus(403);
  }
  const context = {};
  for (const [name, value] of Object.entries(request.headers)) {
    if (name.startsWith('x-context-')) context[name.slice('x-context-'.length)] = decodeURIComponent(value);
  }
  if (context.jwt !== undefined) context.claims = await jwtClaims(context.jwt, keys);
  delete context.jwt;
  response.locals.context = context;
  next();
}

app.get('/login', (request, response) => {
  response.send('<form method="post"><input name="name"><input name="password" type="password"><button>Log in</button></form>');
});

app.post('/login', (request, response) => {
  const person = Object.hasOwn(people, request.body.name) ? people[request.body.name] : undefined;
  if (person === undefined || request.body.password !== person.password) {
    return response.status(403).send('Wrong name or password');
  }
  response.set('countersign-session', `create;user="${person.id}"`).redirect(303, request.query.return_to ?? '/');
});

app.post('/switch/:platform', (request, response) => {
  response.set('countersign-session', `platform;id="${request.params.platform}"`).redirect(303, '/');
});

app.post('/logout', (request, response) => {
  response.set('countersign-session', 'end').redirect(303, '/login');
});

app.get(['/', '/account/:page'], who, (request, response) => {
  response.json(response.locals.context);
});

app.listen(Number(process.env.PORT), '127.0.0.1');
