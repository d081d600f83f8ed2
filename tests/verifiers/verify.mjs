// Verifies captured requests with libraries that are not ours: http-message-signatures and jose.
// As a program it reads {"keys": ..., "requests": [...]} and prints one verdict per request; an application imports
// `messageError` and `jwtClaims`.

import { createPublicKey, webcrypto } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';

import { createVerifier, httpbis } from 'http-message-signatures';

// Node 18 has no global `crypto`, which jose needs.
globalThis.crypto ??= webcrypto;
const { createLocalJWKSet, jwtVerify } = await import('jose');

const PREFIX = 'x-context-';
const REQUIRED = ['@method', '@authority', '@path', '@query'];

function headersOf(request) {
  const headers = {};
  for (const [name, value] of request.headers) {
    const key = name.toLowerCase();
    headers[key] = key in headers ? `${headers[key]}, ${value}` : value;
  }
  return headers;
}

function verifierFor(keys, keyid) {
  const key = keys[keyid];
  if (key === undefined) return null;
  const [material, alg] = key.secret !== undefined
    ? [Buffer.from(key.secret, 'base64url'), 'hmac-sha256']
    : [createPublicKey({ key: key.jwk, format: 'jwk' }), 'ed25519'];
  return { id: keyid, algs: [alg], verify: createVerifier(material, alg) };
}

/** Why the message signature is not to be believed; null when it is. */
export async function messageError(request, keys) {
  const headers = headersOf(request);
  const context = Object.keys(headers).filter((name) => name.startsWith(PREFIX));
  const message = { method: request.method, url: `http://${request.authority}${request.target}`, headers };
  try {
    const verified = await httpbis.verifyMessage({
      keyLookup: async ({ keyid, tag }) => (tag === 'countersign' ? verifierFor(keys, keyid) : null),
      requiredFields: [...REQUIRED, ...context],
      requiredParams: ['created', 'expires', 'nonce', 'keyid', 'alg', 'tag'],
      tolerance: 2,
      all: true,
    }, message);
    return verified === true ? null : `not verified: ${verified}`;
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
}

/** The claims of a token; throws when it is not to be believed. */
export async function jwtClaims(token, keys) {
  const key = keys.jwt_secret !== undefined
    ? Buffer.from(keys.jwt_secret, 'base64url')
    : createLocalJWKSet(keys.jwks);
  const algorithms = keys.jwt_secret !== undefined ? ['HS256'] : [...new Set(keys.jwks.keys.map((k) => k.alg))];
  const requiredClaims = ['iss', 'aud', 'iat', 'exp', 'jti'];
  const { payload } = await jwtVerify(token, key, { audience: keys.audience, algorithms, requiredClaims });
  return payload;
}

async function verdict(request, keys) {
  const result = { signature: await messageError(request, keys.message), jwt: null, claims: null };
  const token = headersOf(request)[`${PREFIX}jwt`];
  if (token !== undefined) {
    try {
      result.claims = await jwtClaims(token, keys);
    } catch (error) {
      result.jwt = `${error.name}: ${error.message}`;
    }
  }
  return result;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const given = JSON.parse(await text(process.stdin));
  const verdicts = [];
  for (const request of given.requests) verdicts.push(await verdict(request, given.keys));
  process.stdout.write(JSON.stringify(verdicts));
}
