import dev.sigstore.AlgorithmRegistry;
import dev.sigstore.KeylessSigner;
import dev.sigstore.KeylessVerificationException;
import dev.sigstore.KeylessVerifier;
import dev.sigstore.SigningConfigProvider;
import dev.sigstore.TrustedRootProvider;
import dev.sigstore.VerificationOptions;
import dev.sigstore.bundle.Bundle;
import dev.sigstore.bundle.BundleParseException;
import dev.sigstore.oidc.client.OidcClient;
import dev.sigstore.oidc.client.OidcClients;
import dev.sigstore.oidc.client.TokenStringOidcClient;
import dev.sigstore.oidc.client.WebOidcClient;
import dev.sigstore.strings.StringMatcher;
import dev.sigstore.trustroot.ImmutableSigstoreSigningConfig;
import dev.sigstore.trustroot.Service;
import dev.sigstore.tuf.RootProvider;
import dev.sigstore.tuf.SigstoreTufClient;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.HashMap;
import java.util.Map;

/**
 * Drives the published sigstore-java by the protocol that {@code integration-tests/src/strangers/driver.rs} describes. It
 * calls what the library publishes and decides nothing itself.
 *
 * <p>Exit code 0: done, accepted. 10: the library refused the bundle. 2: anything else, which is never a verdict.
 */
public final class Driver {
  /** The API version of the certificate authority that the library asks a signing config for. */
  private static final int CA_API_VERSION = 1;

  private final Map<String, String> flags = new HashMap<>();
  private Path artifact;

  private Driver(String[] words) {
    for (int i = 1; i < words.length; i++) {
      if (words[i].startsWith("--")) {
        String name = words[i].substring(2);
        if (++i == words.length) {
          throw new IllegalArgumentException("--" + name + " lacks its value");
        }
        flags.put(name, words[i]);
      } else if (artifact == null) {
        artifact = Path.of(words[i]);
      } else {
        throw new IllegalArgumentException("one artifact at a time; " + words[i] + " is a second");
      }
    }
  }

  public static void main(String[] words) {
    try {
      if (words.length == 0) {
        throw new IllegalArgumentException("the verb is missing");
      }
      new Driver(words).run(words[0]);
      System.exit(0);
    } catch (KeylessVerificationException | BundleParseException refusal) {
      System.err.println(told(refusal));
      System.exit(10);
    } catch (Exception | LinkageError error) {
      error.printStackTrace();
      System.exit(2);
    }
  }

  private void run(String verb) throws Exception {
    switch (verb) {
      case "bootstrap" -> tuf().build().forceUpdate();
      case "sign", "attest" -> sign();
      case "verify", "verify-attestation" -> verify();
      default -> throw new IllegalArgumentException(verb + " is no verb of the protocol");
    }
  }

  private void sign() throws Exception {
    trustTlsAuthority();
    try (KeylessSigner signer = signer()) {
      Bundle bundle =
          flags.containsKey("statement")
              ? signer.attest(Files.readString(Path.of(flag("statement"))))
              : signer.signFile(artifact());
      Files.writeString(Path.of(flag("bundle")), bundle.toJson());
    }
  }

  private KeylessSigner signer() throws Exception {
    return KeylessSigner.builder()
        .trustedRootProvider(trustedRoot())
        .signingConfigProvider(signingConfig())
        .enableRekorV2(true)
        .signingAlgorithm(AlgorithmRegistry.SigningAlgorithm.PKIX_ECDSA_P256_SHA_256)
        .minSigningCertificateLifetime(KeylessSigner.DEFAULT_MIN_SIGNING_CERTIFICATE_LIFETIME)
        .forceCredentialProviders(OidcClients.of(identity()))
        .build();
  }

  private void verify() throws Exception {
    KeylessVerifier verifier = KeylessVerifier.builder().trustedRootProvider(trustedRoot()).build();
    VerificationOptions signedBy =
        VerificationOptions.builder()
            .addCertificateMatchers(
                VerificationOptions.CertificateMatcher.fulcio()
                    .subjectAlternativeName(StringMatcher.string(flag("identity")))
                    .issuer(StringMatcher.string(flag("issuer")))
                    .build())
            .build();
    Bundle bundle = Bundle.from(Path.of(flag("bundle")), StandardCharsets.UTF_8);
    verifier.verify(artifact(), bundle, signedBy);
  }

  private TrustedRootProvider trustedRoot() {
    return flags.containsKey("tuf")
        ? TrustedRootProvider.from(tuf())
        : TrustedRootProvider.from(Path.of(flag("trusted-root")));
  }

  /** The signing config as published, but for the authority, which this library reaches by gRPC over TLS only. */
  private SigningConfigProvider signingConfig() {
    SigningConfigProvider published =
        flags.containsKey("tuf")
            ? SigningConfigProvider.from(tuf())
            : SigningConfigProvider.from(Path.of(flag("signing-config")));
    Service authority = Service.of(URI.create(flag("ca-tls")), CA_API_VERSION);
    return () -> ImmutableSigstoreSigningConfig.copyOf(published.get()).withCas(authority);
  }

  private SigstoreTufClient.Builder tuf() {
    return SigstoreTufClient.builder()
        .tufMirror(URI.create(flag("tuf")), RootProvider.fromFile(Path.of(flag("root"))))
        .tufCacheLocation(Path.of(flag("cache")));
  }

  private OidcClient identity() throws IOException {
    if (flags.containsKey("login")) {
      return WebOidcClient.builder().setIssuer(flag("login")).setBrowser(Driver::browse).build();
    }
    return TokenStringOidcClient.from(Files.readString(Path.of(flag("token-file"))).strip());
  }

  /** Opens a page as desktops do, in the program that BROWSER names. */
  private static void browse(String url) throws IOException {
    String browser = System.getenv("BROWSER");
    if (browser == null) {
      throw new IOException("the variable BROWSER names no program");
    }
    new ProcessBuilder(browser, url).inheritIO().start();
  }

  /**
   * Makes the certificate of the local authority the only one that TLS trusts. The library has no setting for it, so it goes
   * into the store that the runtime reads, as an operator would do it.
   */
  private void trustTlsAuthority() throws Exception {
    KeyStore store = KeyStore.getInstance("PKCS12");
    store.load(null, null);
    try (InputStream pem = Files.newInputStream(Path.of(flag("tls-ca")))) {
      store.setCertificateEntry(
          "local", CertificateFactory.getInstance("X.509").generateCertificate(pem));
    }
    Path file = Files.createTempFile("trust", ".p12");
    file.toFile().deleteOnExit();
    // Certificates are public; the format wants a password all the same.
    String password = "public";
    try (var out = Files.newOutputStream(file)) {
      store.store(out, password.toCharArray());
    }
    System.setProperty("javax.net.ssl.trustStore", file.toString());
    System.setProperty("javax.net.ssl.trustStorePassword", password);
    System.setProperty("javax.net.ssl.trustStoreType", "PKCS12");
  }

  private String flag(String name) {
    String value = flags.get(name);
    if (value == null) {
      throw new IllegalArgumentException("--" + name + " is missing");
    }
    return value;
  }

  private Path artifact() {
    if (artifact == null) {
      throw new IllegalArgumentException("the artifact is missing");
    }
    return artifact;
  }

  /** An error with all its causes, outermost first. */
  private static String told(Throwable error) {
    StringBuilder words = new StringBuilder();
    for (Throwable cause = error; cause != null; cause = cause.getCause()) {
      words.append(words.isEmpty() ? "" : ": ").append(cause.getMessage());
    }
    return words.toString();
  }
}
