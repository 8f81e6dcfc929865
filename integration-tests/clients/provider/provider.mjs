// An OpenID provider that is not ours: any name logs in, and is the e-mail address. Prints its issuer when it answers.
import { createServer } from "node:http";
import { once } from "node:events";
import { Provider } from "oidc-provider";

// The issuer names the port, so the port comes first.
const server = createServer();
server.listen(0, "127.0.0.1");
await once(server, "listening");
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "sigstore",
      application_type: "native",
      token_endpoint_auth_method: "none",
      grant_types: ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
      response_types: ["code"],
      // A native client may use any port of this machine.
      redirect_uris: ["http://localhost/auth/callback"],
    },
    {
      client_id: "confidential",
      client_secret: "a secret of a client that has one",
      application_type: "native",
      token_endpoint_auth_method: "client_secret_post",
      grant_types: ["authorization_code"],
      response_types: ["code"],
      redirect_uris: ["http://127.0.0.1/back/here"],
    },
  ],
  claims: { openid: ["sub"], email: ["email", "email_verified"] },
  // What was asked for stands in the ID token itself.
  conformIdTokenClaims: false,
  clientAuthMethods: ["none", "client_secret_post"],
  features: { deviceFlow: { enabled: true } },
  findAccount: async (_, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, email: id, email_verified: true }),
  }),
  cookies: { keys: ["cookies of tests need no secret"] },
});
server.on("request", provider.callback());
console.log(issuer);
