/* OpenSSL's errors in words that say what to do. */
#include <openssl/err.h>
#include <stdio.h>

#include "net/tls_state.h"

enum {
  ALERT = 1000 /* reasons from here on are alerts the peer has sent */
};

/* What a peer says of us. */
static void alert(const SSL *ssl, int code, char out[PT_TLS_WHY]) {
  bool server = SSL_is_server(ssl);
  switch (code) {
  case SSL_AD_UNKNOWN_CA:
    snprintf(out, PT_TLS_WHY, "it does not trust our certificate: unknown CA");
    break;
  case SSL_AD_BAD_CERTIFICATE:
  case SSL_AD_CERTIFICATE_UNKNOWN:
  case SSL_AD_CERTIFICATE_EXPIRED:
  case SSL_AD_CERTIFICATE_REVOKED:
  case SSL_AD_UNSUPPORTED_CERTIFICATE:
    snprintf(out, PT_TLS_WHY, "it does not accept our certificate: %s", SSL_alert_desc_string_long(code));
    break;
  case SSL_AD_PROTOCOL_VERSION:
    snprintf(out, PT_TLS_WHY, "it allows no TLS version that we do");
    break;
  default:
    if (code == 116) /* certificate_required of RFC 8446 */
      snprintf(out, PT_TLS_WHY, "it wants a certificate of us: set cert and key of %s", server ? "tls" : "backend_tls");
    else
      snprintf(out, PT_TLS_WHY, "it ended TLS with the alert \"%s\"", SSL_alert_desc_string_long(code));
  }
}

/* Why its certificate is none for us. */
static void verdict(const SSL *ssl, char out[PT_TLS_WHY]) {
  long result = SSL_get_verify_result(ssl);
  const char *text = X509_verify_cert_error_string(result);
  switch (result) {
  case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
  case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
  case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
  case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
  case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    snprintf(out, PT_TLS_WHY, "its certificate is not accepted: not issued by our ca (%s)", text);
    break;
  default:
    snprintf(out, PT_TLS_WHY, "its certificate is not accepted: %s", text);
  }
}

static void explain(const SSL *ssl, unsigned long e, char out[PT_TLS_WHY]) {
  int reason = ERR_GET_REASON(e);
  bool server = SSL_is_server(ssl);
  switch (reason) {
  case SSL_R_CERTIFICATE_VERIFY_FAILED:
    verdict(ssl, out);
    return;
  case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
    snprintf(out, PT_TLS_WHY, "it shows no certificate, and client_auth asks for one");
    return;
  case SSL_R_HTTP_REQUEST:
    snprintf(out, PT_TLS_WHY, "it speaks HTTP without TLS");
    return;
  case SSL_R_WRONG_VERSION_NUMBER:
  case SSL_R_PACKET_LENGTH_TOO_LONG:
  case SSL_R_BAD_RECORD_TYPE:
    snprintf(out, PT_TLS_WHY, "it does not speak TLS: %s", server ? "a plain client at a TLS port?" : "a plain port?");
    return;
  case SSL_R_UNSUPPORTED_PROTOCOL:
    snprintf(out, PT_TLS_WHY, "it offers no TLS version that min_version allows");
    return;
  case SSL_R_NO_SHARED_CIPHER:
    snprintf(out, PT_TLS_WHY, "no cipher that both sides allow");
    return;
  default:
    break;
  }
  const char *text = ERR_reason_error_string(e);
  if (ERR_GET_LIB(e) == ERR_LIB_SSL && reason > ALERT && reason < ALERT + 256)
    alert(ssl, reason - ALERT, out);
  else if (text)
    snprintf(out, PT_TLS_WHY, "TLS: %s", text);
  else
    snprintf(out, PT_TLS_WHY, "TLS: error %lx", e);
}

void pt_tls_explain(const SSL *ssl, char out[PT_TLS_WHY]) {
  unsigned long e = ssl ? ERR_peek_error() : ERR_peek_last_error();
  out[0] = 0;
  if (e && ssl)
    explain(ssl, e, out);
  else if (e)
    snprintf(out, PT_TLS_WHY, "%s", ERR_reason_error_string(e) ? ERR_reason_error_string(e) : "unknown error");
  ERR_clear_error();
}
