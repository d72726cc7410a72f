package monitor

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// queryError is why a query is refused. Inside this package it travels by panic and is caught by catch.
type queryError struct {
	semantic bool
	noTable  bool   // the failure that union isfuzzy=true forgives
	code     string // of Kusto, such as SEM0100
	msg      string
	token    string
	off      int // in bytes
}

func (e *queryError) Error() string { return e.msg }

// catch stores a panicking queryError in err.
func catch(err **queryError) {
	switch p := recover().(type) {
	case nil:
	case *queryError:
		*err = p
	default:
		panic(p)
	}
}

// place returns the line from 1 and the column from 0, in characters, as the API counts them.
func place(query string, off int) (line, pos int) {
	before := query[:min(off, len(query))]
	start := strings.LastIndexByte(before, '\n') + 1
	return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[start:])
}

type tokenType int

const (
	tEnd tokenType = iota
	tName
	tLiteral
	tPunct
)

type token struct {
	typ  tokenType
	text string
	off  int
	// kind and val are a literal's.
	kind kind
	val  any
}

// unexpected refuses a token, naming it.
func unexpected(t token, want string) {
	msg := fmt.Sprintf("Query could not be parsed at '%s'", t.text)
	if t.typ == tEnd {
		msg = "Query could not be parsed at its end"
	}
	if want != "" {
		msg += ": expected " + want
	}
	panic(&queryError{code: "SYN0002", msg: msg, token: t.text, off: t.off})
}

func isLetter(c byte) bool { return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

// lexer cuts a query into tokens.
type lexer struct {
	s   string
	i   int
	out []token
}

// lex returns the tokens of a query, with a tEnd at the end.
func lex(s string) []token {
	l := &lexer{s: s}
	for l.next() {
	}
	return append(l.out, token{typ: tEnd, off: len(s)})
}

func (l *lexer) fail(from int, format string, args ...any) {
	to := min(max(l.i, from+1), len(l.s))
	panic(&queryError{code: "SYN0001", msg: fmt.Sprintf(format, args...), token: l.s[from:to], off: from})
}

func (l *lexer) add(t token, from int) bool {
	t.off, t.text = from, l.s[from:l.i]
	l.out = append(l.out, t)
	return true
}

func (l *lexer) skip(f func(byte) bool) {
	for l.i < len(l.s) && f(l.s[l.i]) {
		l.i++
	}
}

func (l *lexer) next() bool {
	l.skip(func(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' })
	rest, from := l.s[l.i:], l.i
	if rest == "" {
		return false
	}
	switch c := rest[0]; {
	case strings.HasPrefix(rest, "//"):
		l.skip(func(c byte) bool { return c != '\n' })
		return true
	case isLetter(c):
		return l.name(from)
	case isDigit(c):
		return l.number(from)
	case c == '"' || c == '\'':
		return l.str(from, c)
	case strings.HasPrefix(rest, "@'") || strings.HasPrefix(rest, `@"`):
		return l.verbatim(from, rest[1])
	}
	for _, p := range []string{"==", "!=", "=~", "!~", "<=", ">=", ".."} {
		if strings.HasPrefix(rest, p) {
			l.i += 2
			return l.add(token{typ: tPunct}, from)
		}
	}
	if strings.IndexByte("|()[],.;:=<>+-*!~", rest[0]) < 0 {
		r, size := utf8.DecodeRuneInString(rest)
		l.i += size
		l.fail(from, "the character %q is not supported", r)
	}
	l.i++
	return l.add(token{typ: tPunct}, from)
}

func (l *lexer) name(from int) bool {
	l.skip(func(c byte) bool { return isLetter(c) || isDigit(c) })
	switch l.s[from:l.i] {
	case "true":
		return l.add(token{typ: tLiteral, kind: kBool, val: true}, from)
	case "false":
		return l.add(token{typ: tLiteral, kind: kBool, val: false}, from)
	case "datetime":
		if body, ok := strings.CutPrefix(strings.TrimLeft(l.s[l.i:], " \t"), "("); ok {
			return l.datetime(from, body)
		}
	case "dynamic":
		if body, ok := strings.CutPrefix(strings.TrimLeft(l.s[l.i:], " \t"), "("); ok {
			return l.dynamic(from, body)
		}
	}
	return l.add(token{typ: tName}, from)
}

func (l *lexer) datetime(from int, body string) bool {
	text, _, ok := strings.Cut(body, ")")
	if !ok {
		l.fail(from, "datetime( has no closing parenthesis")
	}
	l.i = len(l.s) - len(body) + len(text) + 1
	if strings.TrimSpace(text) == "null" {
		return l.add(token{typ: tLiteral, kind: kDatetime}, from)
	}
	t, ok := parseTime(text)
	if !ok {
		l.fail(from, "'%s' is not a datetime; write datetime(2026-01-31T12:00:00Z)", text)
	}
	return l.add(token{typ: tLiteral, kind: kDatetime, val: t}, from)
}

// dynamic reads one JSON value and the closing parenthesis.
func (l *lexer) dynamic(from int, body string) bool {
	dec := json.NewDecoder(strings.NewReader(body))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		l.fail(from, "what dynamic( holds is not JSON")
	}
	rest := strings.TrimLeft(body[dec.InputOffset():], " \t\r\n")
	if !strings.HasPrefix(rest, ")") {
		l.fail(from, "dynamic( has no closing parenthesis behind its value")
	}
	l.i = len(l.s) - len(rest) + 1
	return l.add(token{typ: tLiteral, kind: kDynamic, val: numbers(v)}, from)
}

func (l *lexer) number(from int) bool {
	if strings.HasPrefix(l.s[from:], "0x") || strings.HasPrefix(l.s[from:], "0X") {
		l.i += 2
		l.skip(func(c byte) bool { return isDigit(c) || isLetter(c) })
		return l.long(from)
	}
	l.skip(isDigit)
	real := false
	if l.i+1 < len(l.s) && l.s[l.i] == '.' && isDigit(l.s[l.i+1]) { // and not the .. of between
		real = true
		l.i++
		l.skip(isDigit)
	}
	if e := l.s[l.i:]; len(e) > 1 && (e[0] == 'e' || e[0] == 'E') && (isDigit(e[1]) || len(e) > 2 && (e[1] == '-' || e[1] == '+') && isDigit(e[2])) {
		real = true
		l.i += 2
		l.skip(isDigit)
	}
	digits := l.s[from:l.i]
	l.skip(func(c byte) bool { return isLetter(c) || isDigit(c) })
	if unit := l.s[from+len(digits) : l.i]; unit != "" {
		return l.timespan(from, digits, unit)
	}
	if !real {
		return l.long(from)
	}
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		l.fail(from, "the number %s is out of range", digits)
	}
	return l.add(token{typ: tLiteral, kind: kReal, val: f}, from)
}

func (l *lexer) long(from int) bool {
	base := 10
	digits := l.s[from:l.i]
	if len(digits) > 1 && (digits[1] == 'x' || digits[1] == 'X') {
		base, digits = 16, digits[2:]
	}
	n, err := strconv.ParseInt(digits, base, 64)
	if err != nil {
		l.fail(from, "'%s' is not a number that fits a long", l.s[from:l.i])
	}
	return l.add(token{typ: tLiteral, kind: kLong, val: n}, from)
}

func (l *lexer) timespan(from int, digits, unit string) bool {
	var per time.Duration
	switch unit {
	case "d":
		per = 24 * time.Hour
	case "h":
		per = time.Hour
	case "m":
		per = time.Minute
	case "s":
		per = time.Second
	case "ms":
		per = time.Millisecond
	default:
		l.fail(from, "the unit '%s' of a timespan is not supported; there are d, h, m, s and ms", unit)
	}
	f, err := strconv.ParseFloat(digits, 64)
	ticks := math.Round(f * float64(per) / float64(tick))
	if err != nil || ticks > 9e16 {
		l.fail(from, "the timespan %s%s is out of range", digits, unit)
	}
	return l.add(token{typ: tLiteral, kind: kTimespan, val: time.Duration(ticks) * tick}, from)
}

func (l *lexer) str(from int, quote byte) bool {
	var b strings.Builder
	for l.i++; l.i < len(l.s); l.i++ {
		switch c := l.s[l.i]; c {
		case quote:
			l.i++
			return l.add(token{typ: tLiteral, kind: kString, val: b.String()}, from)
		case '\n', '\r':
			l.fail(from, "a string literal does not end on its line")
		case '\\':
			r, _, tail, err := strconv.UnquoteChar(l.s[l.i:], quote)
			if err != nil {
				// Kusto, unlike Go, lets the other quote be escaped as well.
				if l.i+1 < len(l.s) && (l.s[l.i+1] == '\'' || l.s[l.i+1] == '"') {
					l.i++
					b.WriteByte(l.s[l.i])
					continue
				}
				l.fail(from, "a string literal has an unknown escape; write \\\\ for a backslash, or @'...'")
			}
			b.WriteRune(r) // \xhh names a character too, not a byte
			l.i = len(l.s) - len(tail) - 1
		default:
			b.WriteByte(c)
		}
	}
	l.fail(from, "a string literal does not end")
	return false
}

func (l *lexer) verbatim(from int, quote byte) bool {
	var b strings.Builder
	for l.i += 2; l.i < len(l.s); l.i++ {
		c := l.s[l.i]
		if c == quote {
			if l.i+1 == len(l.s) || l.s[l.i+1] != quote {
				l.i++
				return l.add(token{typ: tLiteral, kind: kString, val: b.String()}, from)
			}
			l.i++
		}
		b.WriteByte(c)
	}
	l.fail(from, "a string literal does not end")
	return false
}
