// A backend which believes the gateway's signed assertion and nothing else.
package main

import (
	"context"
	"encoding/json"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

func main() {
	issuer, audience := os.Getenv("ISSUER"), os.Getenv("AUDIENCE")
	listener, listenErr := net.Listen("tcp", os.Getenv("LISTEN"))
	keys, keysErr := keyfunc.NewDefaultOverrideCtx(context.Background(), []string{os.Getenv("JWKS_URL")}, keyfunc.Override{
		HTTPTimeout: 5 * time.Second, RefreshInterval: 5 * time.Minute,
		// By default a new key is looked for once in five minutes.
		RefreshUnknownKID: rate.NewLimiter(rate.Every(time.Second), 1), RateLimitWaitMax: 3 * time.Second,
	})
	// The parser does not check an issuer which is empty.
	if issuer == "" || audience == "" || listenErr != nil || keysErr != nil {
		log.Fatal("set ISSUER, AUDIENCE, LISTEN and JWKS_URL: ", listenErr, keysErr)
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"ES256", "EdDSA"}), jwt.WithIssuer(issuer),
		jwt.WithAudience(audience), jwt.WithExpirationRequired(), jwt.WithLeeway(5*time.Second))

	log.New(os.Stdout, "", 0).Println("listening on", listener.Addr())
	log.Fatal(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		claims, once := jwt.MapClaims{}, len(r.Header.Values("X-Doorward-Assertion")) == 1
		token, err := parser.ParseWithClaims(r.Header.Get("X-Doorward-Assertion"), claims, keys.KeyfuncCtx(r.Context()))
		if err != nil || !once || token.Header["typ"] != "doorward-assertion+jwt" ||
			claims["iat"] == nil || claims["sub"] == nil {
			w.WriteHeader(http.StatusUnauthorized)
			json.NewEncoder(w).Encode(map[string]string{"error": "no valid assertion"})
			return
		}
		json.NewEncoder(w).Encode(claims)
	})))
}
