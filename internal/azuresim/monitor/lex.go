package monitor

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// queryError describes why a query is refused. Inside this package it travels by panic, and catch recovers it.
type queryError struct {
	semantic bool
	code     string // of Kusto, such as SEM0100
	msg      string
	token    string
	off      int // in bytes
}

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

// punctuation lists all of KQL's, longest first, so that the parser can refuse what it does not know by name.
var punctuation = []string{
	"==", "!=", "=~", "!~", "<=", ">=", "..", "//",
	"|", "(", ")", "[", "]", ",", ".", ":", ";", "=", "<", ">", "+", "-", "*", "/", "%", "!", "~",
}

func isLetter(c byte) bool { return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

// lexer cuts a query into tokens.
type lexer struct {
	s string
	i int
}

// lex returns the tokens of a query, with a tEnd at the end.
func lex(s string) (tokens []token) {
	l := &lexer{s: s}
	for {
		l.skip(func(c byte) bool { return strings.IndexByte(" \t\r\n", c) >= 0 })
		if l.i == len(s) {
			return append(tokens, token{typ: tEnd, off: l.i})
		}
		from := l.i
		t := l.next()
		t.off, t.text = from, s[from:l.i]
		tokens = append(tokens, t)
	}
}

func (l *lexer) fail(from int, format string, args ...any) {
	to := min(max(l.i, from+1), len(l.s))
	panic(&queryError{code: "SYN0001", msg: fmt.Sprintf(format, args...), token: l.s[from:to], off: from})
}

func (l *lexer) skip(f func(byte) bool) {
	for l.i < len(l.s) && f(l.s[l.i]) {
		l.i++
	}
}

// next reads a token, except for its text and place.
func (l *lexer) next() token {
	rest, from := l.s[l.i:], l.i
	switch c := rest[0]; {
	case isLetter(c):
		l.skip(func(c byte) bool { return isLetter(c) || isDigit(c) })
		body, ok := strings.CutPrefix(strings.TrimLeft(l.s[l.i:], " \t"), "(")
		switch name := l.s[from:l.i]; {
		case ok && name == "datetime":
			return l.datetime(from, body)
		case ok && name == "dynamic":
			return l.dynamic(from, body)
		}
		return token{typ: tName}
	case isDigit(c):
		return l.integer(from)
	case c == '"':
		return l.str(from)
	}
	i := slices.IndexFunc(punctuation, func(p string) bool { return strings.HasPrefix(rest, p) })
	if i < 0 {
		r, size := utf8.DecodeRuneInString(rest)
		l.i += size
		l.fail(from, "the character %q is not supported by azuresim", r)
	}
	l.i += len(punctuation[i])
	return token{typ: tPunct}
}

func (l *lexer) datetime(from int, body string) token {
	value, _, ok := strings.Cut(body, ")")
	if !ok {
		l.fail(from, "datetime( has no closing parenthesis")
	}
	l.i = len(l.s) - len(body) + len(value) + 1
	t, ok := parseTime(value)
	if !ok {
		l.fail(from, "'%s' is not a datetime; write datetime(2026-01-31T12:00:00Z)", value)
	}
	return token{typ: tLiteral, kind: kDatetime, val: t}
}

// dynamic reads one JSON value and the closing parenthesis.
func (l *lexer) dynamic(from int, body string) token {
	dec := json.NewDecoder(strings.NewReader(body))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		l.fail(from, "the argument of dynamic( is not JSON")
	}
	rest := strings.TrimLeft(body[dec.InputOffset():], " \t\r\n")
	if !strings.HasPrefix(rest, ")") {
		l.fail(from, "dynamic( has no closing parenthesis behind its value")
	}
	l.i = len(l.s) - len(rest) + 1
	return token{typ: tLiteral, kind: kDynamic, val: numbers(v)}
}

// integer reads digits. It refuses hexadecimal numbers, fractions and timespans as a whole, to name them.
func (l *lexer) integer(from int) token {
	l.skip(func(c byte) bool { return isDigit(c) || isLetter(c) })
	if l.i+1 < len(l.s) && l.s[l.i] == '.' && isDigit(l.s[l.i+1]) { // and not the .. of between
		l.i++
		l.skip(func(c byte) bool { return isDigit(c) || isLetter(c) })
	}
	n, err := strconv.ParseInt(l.s[from:l.i], 10, 64)
	if err != nil {
		l.fail(from, "'%s' is not a decimal integer that fits a long, and not supported by azuresim", l.s[from:l.i])
	}
	return token{typ: tLiteral, kind: kLong, val: n}
}

func (l *lexer) str(from int) token {
	var b strings.Builder
	for l.i++; l.i < len(l.s); l.i++ {
		switch c := l.s[l.i]; c {
		case '"':
			l.i++
			return token{typ: tLiteral, kind: kString, val: b.String()}
		case '\n', '\r':
			l.fail(from, "a string literal does not end on its line")
		case '\\':
			b.WriteRune(l.escape(from))
		default:
			b.WriteByte(c)
		}
	}
	l.fail(from, "a string literal does not end")
	return token{}
}

// escape reads \", \\ or \uXXXX, and leaves its last character to str.
func (l *lexer) escape(from int) rune {
	l.i++
	rest := l.s[l.i:]
	switch {
	case strings.HasPrefix(rest, `"`) || strings.HasPrefix(rest, `\`):
		return rune(rest[0])
	case strings.HasPrefix(rest, "u") && len(rest) > 4:
		if n, err := strconv.ParseUint(rest[1:5], 16, 16); err == nil {
			l.i += 4
			return rune(n)
		}
	}
	r, _ := utf8.DecodeRuneInString(rest)
	l.fail(from, `the escape '\%c' in a string literal is not supported by azuresim`, r)
	return 0
}
