// A backend which believes the gateway's signed assertion and nothing else.
import { createServer } from 'node:http';
import { createRemoteJWKSet, jwtVerify } from 'jose';

const { JWKS_URL, ISSUER, AUDIENCE, LISTEN } = process.env;
// jose does not check an issuer or an audience which is undefined.
if (!ISSUER || !AUDIENCE) throw new Error('ISSUER and AUDIENCE must be set');
const keys = createRemoteJWKSet(new URL(JWKS_URL), { cooldownDuration: 1000, cacheMaxAge: 300_000 });

async function verify(headers) {
  const assertions = headers['x-doorward-assertion'] ?? [];
  if (assertions.length !== 1) throw new Error('exactly one assertion is needed');
  const { payload, protectedHeader } = await jwtVerify(assertions[0], keys, {
    algorithms: ['ES256', 'EdDSA'],
    issuer: ISSUER,
    audience: AUDIENCE,
    requiredClaims: ['exp', 'iat', 'sub'],
    clockTolerance: 5,
  });
  if (protectedHeader.typ !== 'doorward-assertion+jwt') throw new Error('another kind of token');
  return payload;
}

const server = createServer(async (req, res) => {
  const [status, answer] = await verify(req.headersDistinct).then(
    (claims) => [200, claims],
    () => [401, { error: 'no valid assertion' }],
  );
  res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
});

const [host, port] = LISTEN.split(':');
server.listen(Number(port), host, () => console.log(`listening on ${host}:${server.address().port}`));
