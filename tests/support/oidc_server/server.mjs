// An OpenID provider with its own pages: node server.mjs ISSUER REDIRECT_URI. Any name and password sign in.
import { generateKeyPairSync } from "node:crypto";
import { Provider } from "oidc-provider";

const [issuer, redirectUri] = process.argv.slice(2);
const key = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "amalga",
      client_secret: "shared-by-both",
      redirect_uris: [redirectUri],
      token_endpoint_auth_method: "client_secret_post",
    },
  ],
  jwks: { keys: [{ ...key, kid: "2026-11", use: "sig" }] },
  cookies: { keys: ["of the tests alone"] },
  claims: {
    openid: ["sub"],
    email: ["email", "email_verified"],
    profile: ["name", "given_name", "family_name", "preferred_username", "groups"],
  },
  findAccount: (_context, id) => ({
    accountId: id,
    claims: () => ({
      sub: id,
      email: `${id}@example.org`,
      email_verified: true,
      name: `${id} Doe`,
      given_name: id,
      family_name: "Doe",
      preferred_username: id,
      groups: ["/team", `/team/${id}`],
    }),
  }),
});
provider.listen(Number(new URL(issuer).port), "127.0.0.1");
