package node

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/textproto"
	"strings"
)

// Bounds of a MIME message.
const (
	maxParts    = 32
	maxMIMENest = 3      // multiparts within multiparts
	maxPad      = 20_000 // lines before a part, beyond which its lines are counted from its own first
)

// isMIME answers whether user-data begins as a message does (RFC 2045): with
// one of its headers, as cloud-init's tools write them.
func isMIME(data []byte) bool {
	first, _, _ := bytes.Cut(data, []byte("\n"))
	line := strings.ToLower(string(first))
	for _, header := range []string{"content-type:", "mime-version:", "from:", "subject:", "content-transfer-encoding:"} {
		if strings.HasPrefix(line, header) {
			return true
		}
	}
	return false
}

// splitMIME takes a message apart. Parts that a node does not read are listed,
// not refused: cloud-init's tools put several consumers' parts into one message.
func splitMIME(file string, data []byte) (payload, error) {
	m := &message{file: file, whole: data}
	header, body, err := m.header(data)
	if err != nil {
		return payload{}, m.problem(0, "these are no headers of a MIME message")
	}
	if err := m.entity(header, body, 0); err != nil {
		return payload{}, err
	}
	return payload{file: file, parts: m.parts, ignored: m.ignored}, nil
}

// A message is being taken apart.
type message struct {
	file    string
	whole   []byte
	cursor  int // where in whole the next part is looked for
	count   int
	parts   []part
	ignored []string
}

// problem is at the line of an offset in the whole message.
func (m *message) problem(offset int, format string, args ...any) error {
	return Problems{{m.file, m.line(offset), 1, fmt.Sprintf(format, args...)}}
}

func (m *message) line(offset int) int { return bytes.Count(m.whole[:offset], []byte("\n")) + 1 }

// header reads the lines up to the first empty one.
func (m *message) header(data []byte) (textproto.MIMEHeader, []byte, error) {
	r := bufio.NewReader(bytes.NewReader(data))
	header, err := textproto.NewReader(r).ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	body, err := io.ReadAll(r)
	return header, body, err
}

// entity takes a part or the message itself.
func (m *message) entity(header textproto.MIMEHeader, body []byte, depth int) error {
	start := m.find(body)
	kind, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		kind = "text/plain" // RFC 2045 §5.2
	}
	if strings.HasPrefix(kind, "multipart/") {
		if depth == maxMIMENest {
			return m.problem(start, "more than %d multipart messages within one another", maxMIMENest)
		}
		if params["boundary"] == "" {
			return m.problem(start, "the multipart message has no boundary")
		}
		return m.multipart(body, params["boundary"], start, depth)
	}
	if m.count++; m.count > maxParts {
		return m.problem(start, "the message has more than %d parts", maxParts)
	}
	return m.leaf(kind, header, body, start)
}

// find returns where a part's body begins in the whole message: after the empty
// line that ends its header. Bodies come in the order of the file. What a
// multipart in another encoding holds is not there; then it is the place
// reached.
func (m *message) find(body []byte) int {
	for _, empty := range []string{"\n\n", "\r\n\r\n"} {
		if i := bytes.Index(m.whole[m.cursor:], append([]byte(empty), body...)); i >= 0 {
			m.cursor += i + len(empty)
			break
		}
	}
	return m.cursor
}

func (m *message) multipart(body []byte, boundary string, start, depth int) error {
	r := multipart.NewReader(bytes.NewReader(body), boundary)
	for n := 0; ; n++ {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) && n > 0 {
			return nil
		}
		if err != nil {
			return m.problem(start, "the multipart message ends before its last boundary, or has none")
		}
		inner, err := io.ReadAll(p)
		if err != nil {
			return m.problem(m.cursor, "a part of the message ends before the next boundary")
		}
		if err := m.entity(p.Header, inner, depth+1); err != nil {
			return err
		}
	}
}

// leaf takes a part that is no multipart.
func (m *message) leaf(kind string, header textproto.MIMEHeader, body []byte, start int) error {
	p := part{file: fmt.Sprintf("%s, part %d", m.file, m.count), form: Header}
	name := fmt.Sprintf("part %d (%s)", m.count, kind)
	if !readKind(kind) {
		m.ignored = append(m.ignored, name)
		m.cursor = start + len(body)
		return nil
	}
	text, plain, err := transferDecode(header.Get("Content-Transfer-Encoding"), body)
	if err != nil {
		return m.problem(start, "%s: %v", name, err)
	}
	p.data = text
	if plain {
		m.cursor = min(len(m.whole), start+len(body))
		if line := m.line(start); line < maxPad {
			// Its lines count as those of the whole file.
			p.file, p.pad = m.file, line-1
		}
	}
	form, wrong := formOf(bytes.TrimLeft(bytes.TrimPrefix(text, []byte("\ufeff")), "\r\n"))
	switch {
	case kind == mimePart && form != Header && len(bytes.TrimSpace(text)) > 0 && !bytes.HasPrefix(text, []byte("#trivet/")):
		// The type says what it is; the first line need not.
	case kind == "text/cloud-config":
		p.form = CloudConfig
	case wrong != "" && kind == "text/plain":
		m.ignored = append(m.ignored, name)
		return nil
	case wrong != "":
		return Problems{{p.file, p.pad + 1, 1, wrong}}
	default:
		p.form = form
	}
	p.data = append(bytes.Repeat([]byte("\n"), p.pad), p.data...)
	m.parts = append(m.parts, p)
	return nil
}

// readKind answers whether a part's type may be of use. Cloud-init looks at the
// first line of a text/plain.
func readKind(kind string) bool {
	return kind == mimePart || kind == "text/cloud-config" || kind == "text/plain"
}

// transferDecode undoes the encoding of a part (RFC 2045 §6), and answers
// whether there was none.
func transferDecode(encoding string, body []byte) (text []byte, plain bool, err error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "7bit", "8bit", "binary":
		return body, true, nil
	case "base64":
		text, err = io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(body)))
	case "quoted-printable":
		text, err = io.ReadAll(quotedprintable.NewReader(bytes.NewReader(body)))
	default:
		return nil, false, errors.New("the Content-Transfer-Encoding is not one of 7bit, 8bit, base64, quoted-printable")
	}
	if err != nil {
		// Not the decoder's words: they may quote the text.
		return nil, false, fmt.Errorf("this is not %s", strings.ToLower(encoding))
	}
	return text, false, nil
}
