// Drives the published npm packages; the protocol is in integration-tests/src/strangers/driver.rs. Nothing is decided
// here: an error that the packages throw as a verdict on a bundle ends with 10, anything else with 2 (or with the 1 of Node
// itself, when this file does not even load).

import { readFile, writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";

import { bundleFromJSON, bundleToJSON } from "@sigstore/bundle";
import { TrustedRoot } from "@sigstore/protobuf-specs";
import {
  DSSEBundleBuilder,
  FulcioSigner,
  MessageSignatureBundleBuilder,
  RekorWitness,
  TSAWitness,
} from "@sigstore/sign";
import { initTUF } from "@sigstore/tuf";
import { PolicyError, toSignedEntity, toTrustMaterial, VerificationError, Verifier } from "@sigstore/verify";
import * as sigstore from "sigstore";

const IN_TOTO = "application/vnd.in-toto+json";
const REKOR_V2 = 2;

const text = (name) => ({ [name]: { type: "string" } });
const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: Object.assign(
    {},
    ...[
      "trust-config", "trusted-root", "signing-config", "tuf", "root", "cache", "ca-tls", "tls-ca",
      "token-file", "statement", "bundle", "identity", "issuer",
    ].map(text),
  ),
});
const [verb, artifact] = positionals;

const json = async (path) => JSON.parse(await readFile(path, "utf8"));

function need(name) {
  if (flags[name] === undefined) throw new Error(`--${name} is missing`);
  return flags[name];
}

const tufClient = () =>
  initTUF({ mirrorURL: need("tuf"), rootPath: need("root"), cachePath: need("cache") });

async function signingConfig() {
  if (flags.tuf === undefined) return json(need("signing-config"));
  const client = await tufClient();
  return JSON.parse(await client.getTarget("signing_config.v0.2.json"));
}

// The newest service of a kind is listed first by the servers that publish these files.
function service(config, kind) {
  const found = config[kind]?.[0]?.url;
  if (found === undefined) throw new Error(`the signing config has no ${kind}`);
  return found;
}

async function builder(Kind) {
  const config = await signingConfig();
  const token = (await readFile(need("token-file"), "utf8")).trim();
  const signer = new FulcioSigner({
    fulcioBaseURL: service(config, "caUrls"),
    identityProvider: { getToken: async () => token },
  });
  const witnesses = [
    new RekorWitness({
      rekorBaseURL: service(config, "rekorTlogUrls"),
      majorApiVersion: REKOR_V2,
    }),
    new TSAWitness({ tsaBaseURL: service(config, "tsaUrls") }),
  ];
  return new Kind({ signer, witnesses });
}

async function save(bundle) {
  await writeFile(need("bundle"), JSON.stringify(bundleToJSON(bundle)));
}

// With files the verifier of @sigstore/verify is given the trusted root; with TUF, sigstore.verify fetches it.
async function verify(payload) {
  const bundle = await json(need("bundle"));
  if (flags.tuf !== undefined) {
    const options = {
      tufMirrorURL: flags.tuf,
      tufRootPath: need("root"),
      tufCachePath: need("cache"),
      certificateIssuer: need("issuer"),
      certificateIdentityEmail: need("identity"),
    };
    await (payload ? sigstore.verify(bundle, payload, options) : sigstore.verify(bundle, options));
    return;
  }
  const trust = toTrustMaterial(TrustedRoot.fromJSON(await json(need("trusted-root"))));
  const entity = toSignedEntity(bundleFromJSON(bundle), payload);
  new Verifier(trust).verify(entity, {
    subjectAlternativeName: need("identity"),
    extensions: { issuer: need("issuer") },
  });
}

const verbs = {
  bootstrap: async () => {
    const client = await tufClient();
    await client.getTarget("trusted_root.json");
  },
  sign: async () => {
    const bundler = await builder(MessageSignatureBundleBuilder);
    await save(await bundler.create({ data: await readFile(artifact) }));
  },
  attest: async () => {
    const bundler = await builder(DSSEBundleBuilder);
    await save(await bundler.create({ data: await readFile(need("statement")), type: IN_TOTO }));
  },
  verify: async () => verify(await readFile(artifact)),
  "verify-attestation": async () => verify(undefined),
};

try {
  if (!Object.hasOwn(verbs, verb)) throw new Error(`no verb ${verb}`);
  await verbs[verb]();
} catch (error) {
  console.error(`${error.name} ${error.code ?? ""} ${error.stack}`, error.cause ?? "");
  const refused = error instanceof VerificationError || error instanceof PolicyError;
  process.exitCode = refused ? 10 : 2;
}
