package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// serverACMEClient speaks to a CA: signed messages (RFC 8555, section 6), each on a connection of its own. Go's
// HTTP client would be a third of a MiB of the program for these few.
type serverACMEClient struct {
	dial      func(ctx context.Context, address string) (net.Conn, error)
	key       *ecdsa.PrivateKey
	directory struct{ NewNonce, NewAccount, NewOrder string } // RFC 8555, section 7.1.1
	account   string                                          // its URL; "": not yet known
	nonce     string                                          // that the CA wants next; "": ask for one
}

const (
	serverACMEAnswer = 1 << 20 // the longest that is read
	serverACMEWait   = 30 * time.Second
)

// serverACMEReply is what the CA has answered.
type serverACMEReply struct {
	status int
	header http.Header
	body   []byte
}

// after is how long the CA wants to be left alone (RFC 8555, sections 6.6 and 7.5.1): seconds, or a date. 0: it does not say.
func (r *serverACMEReply) after() time.Duration {
	text := r.header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(seconds, 0), int(serverACMEWaitMost/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// serverACMEProblem is a CA's word on what is wrong (RFC 7807).
type serverACMEProblem struct {
	Type, Detail string
	Status       int
	after        time.Duration // how long it wants to be left alone
}

func (e *serverACMEProblem) Error() string {
	return fmt.Sprintf("%d %s: %s", e.Status, e.Type, e.Detail)
}

func (c *serverACMEClient) discover(ctx context.Context, directory string) error {
	answer, err := c.exchange(ctx, "GET", directory, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer.body, &c.directory); answer.status != 200 || err != nil || c.directory.NewOrder == "" {
		return fmt.Errorf("it is no CA's directory: status %d", answer.status)
	}
	return nil
}

const serverACMETries = 5 // a nonce may have been used up: RFC 8555, section 6.5

// post sends a signed message and reads the answer into out, unless that is nil. nil is sent to read only (section 6.3).
func (c *serverACMEClient) post(ctx context.Context, at string, message, out any) (*serverACMEReply, error) {
	var payload []byte
	var err error
	if message != nil {
		if payload, err = json.Marshal(message); err != nil {
			return nil, err
		}
	}
	for try := 1; ; try++ {
		if c.nonce == "" {
			if _, err := c.exchange(ctx, "HEAD", c.directory.NewNonce, nil); err != nil {
				return nil, err
			}
		}
		body, err := c.sign(at, payload)
		if err != nil {
			return nil, err
		}
		answer, err := c.exchange(ctx, "POST", at, body)
		if err != nil {
			return nil, err
		}
		if answer.status >= 300 {
			problem := &serverACMEProblem{}
			if json.Unmarshal(answer.body, problem) != nil { // no words; the status says it
				problem.Type = "no problem document"
			}
			problem.Status, problem.after = answer.status, answer.after()
			if problem.Type == "urn:ietf:params:acme:error:badNonce" && try < serverACMETries {
				continue
			}
			return nil, problem
		}
		if out != nil {
			err = json.Unmarshal(answer.body, out)
		}
		return answer, err
	}
}

// sign makes a message of this account's (RFC 8555, section 6.2; RFC 7518, section 3.4).
func (c *serverACMEClient) sign(at string, payload []byte) ([]byte, error) {
	header := map[string]any{"alg": "ES256", "nonce": c.nonce, "url": at}
	c.nonce = ""
	if c.account != "" {
		header["kid"] = c.account
	} else {
		header["jwk"] = json.RawMessage(c.jwk())
	}
	protected, err := json.Marshal(header)
	if err != nil {
		return nil, err
	}
	first, second := serverACMEBase64(protected), serverACMEBase64(payload)
	sum := sha256.Sum256([]byte(first + "." + second))
	r, s, err := ecdsa.Sign(rand.Reader, c.key, sum[:])
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return json.Marshal(map[string]string{"protected": first, "payload": second, "signature": serverACMEBase64(signature[:])})
}

// jwk is the account's public key, with its members in the order that the thumbprint wants (RFC 7638, section 3).
func (c *serverACMEClient) jwk() string {
	point, err := c.key.PublicKey.Bytes()
	if err != nil || len(point) != 65 { // a P-256 key has these
		return "{}"
	}
	return fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, serverACMEBase64(point[1:33]), serverACMEBase64(point[33:]))
}

func (c *serverACMEClient) thumbprint() string {
	sum := sha256.Sum256([]byte(c.jwk()))
	return serverACMEBase64(sum[:])
}

func serverACMEBase64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// exchange sends one request and reads its answer.
func (c *serverACMEClient) exchange(ctx context.Context, method, at string, body []byte) (*serverACMEReply, error) {
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("%q is no address of a CA", at)
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	ctx, cancel := context.WithTimeout(ctx, serverACMEWait)
	defer cancel()
	nc, err := c.dial(ctx, net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	var request bytes.Buffer
	fmt.Fprintf(&request, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: letterbox\r\nConnection: close\r\n", method, u.RequestURI(), u.Host)
	if body != nil {
		fmt.Fprintf(&request, "Content-Type: application/jose+json\r\nContent-Length: %d\r\n", len(body))
	}
	request.WriteString("\r\n")
	request.Write(body)
	fail := func(err error) error { return fmt.Errorf("asking the CA: %w", errors.Join(err, ctx.Err())) } // which may be why
	if _, err := nc.Write(request.Bytes()); err != nil {
		return nil, fail(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(io.LimitReader(nc, serverACMEAnswer)), &http.Request{Method: method})
	if err != nil {
		return nil, fail(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fail(err)
	}
	c.nonce = response.Header.Get("Replay-Nonce")
	return &serverACMEReply{response.StatusCode, response.Header, text}, nil
}
