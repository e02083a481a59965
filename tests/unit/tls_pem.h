/* A certificate that has issued itself, CN=test, and its key: of nobody, for tests. */
#ifndef PT_TESTS_TLS_PEM_H
#define PT_TESTS_TLS_PEM_H

static const char pem[] = "-----BEGIN CERTIFICATE-----\n"
                          "MIIBdTCCARugAwIBAgIUDF6utKusS4zPDxbhOW2u2fGMvKQwCgYIKoZIzj0EAwIw\n"
                          "DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjUwMTUwMDhaGA8yMDgxMDgyODAxNTAw\n"
                          "OFowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABI1z\n"
                          "mbgJZidlIgnVu5r9y5gyS8gQyeiygeDZ9snv6mdt50lM0MaNblyA+JVifTr/s/18\n"
                          "Oq/75jXjP+UfvmZHpoejUzBRMB0GA1UdDgQWBBTYuSdDmHBzGx9tY/1eLjrJHruf\n"
                          "DzAfBgNVHSMEGDAWgBTYuSdDmHBzGx9tY/1eLjrJHrufDzAPBgNVHRMBAf8EBTAD\n"
                          "AQH/MAoGCCqGSM49BAMCA0gAMEUCIQCyrUjIWiSnXbTuDdXsqBZpGj1HS6OHc+Xx\n"
                          "cxWDvhNHQQIgTwDjC++ZzDRMQS+EnHHmOv8tScdJq29b1XPdP+BNpnM=\n"
                          "-----END CERTIFICATE-----\n"
                          "-----BEGIN PRIVATE KEY-----\n"
                          "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJ07wRSSRpk5E9dih\n"
                          "LjYmhrnFi/noVNyTOjEOjF6idsihRANCAASNc5m4CWYnZSIJ1bua/cuYMkvIEMno\n"
                          "soHg2fbJ7+pnbedJTNDGjW5cgPiVYn06/7P9fDqv++Y14z/lH75mR6aH\n"
                          "-----END PRIVATE KEY-----\n";

#endif
