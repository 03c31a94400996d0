package cloud

import (
	"bytes"
	_ "embed" // for the schema
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of cloud.yaml, for editors. It
// tells forms and ranges; what values mean to each other only the reader tells.
func Schema() []byte { return bytes.Clone(schema) }

// An object keeps the order of its keys in JSON.
type object []member

type member struct {
	key   string
	value any
}

// MarshalJSON writes the members in their order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(m.key)
		if err != nil {
			return nil, err
		}
		value, err := plainJSON(m.value)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// plainJSON leaves < and > as they are: this is no HTML.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

// makeSchema makes the schema out of the shape of the file.
func makeSchema() ([]byte, error) {
	root := object{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"$id", "urn:trivet:cloud"},
		{"title", "cloud.yaml"},
		{"description", "The description of a whole cloud, from which trivet makes what each node is told."},
	}
	data, err := plainJSON(append(root, schemaOf(reflect.TypeFor[cloudFile](), "")...))
	if err != nil {
		return nil, fmt.Errorf("make the schema: %w", err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		return nil, fmt.Errorf("make the schema: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// schemaOf describes a type. The tag is that of the field that has it.
func schemaOf(t reflect.Type, tag reflect.StructTag) object {
	var o object
	if doc := tag.Get("doc"); doc != "" {
		o = append(o, member{"description", doc})
	}
	switch t.Kind() {
	case reflect.Struct:
		o = append(o, structSchema(t, tag.Get("need"))...)
	case reflect.Map:
		o = append(o, member{"type", "object"}, member{"additionalProperties", schemaOf(t.Elem(), "")})
	case reflect.Slice:
		o = append(o, member{"type", "array"}, member{"items", schemaOf(t.Elem(), "")})
	case reflect.Pointer:
		kind := "integer"
		if t.Elem().Kind() == reflect.Float64 {
			kind = "number"
		}
		o = append(o, member{"type", kind})
	default:
		o = append(o, textSchema(t, tag)...)
	}
	for _, bound := range []struct{ tag, key string }{{"min", "minimum"}, {"max", "maximum"}} {
		if n, err := strconv.Atoi(tag.Get(bound.tag)); err == nil {
			o = append(o, member{bound.key, n})
		}
	}
	return o
}

func textSchema(t reflect.Type, tag reflect.StructTag) object {
	if t == reflect.TypeFor[scalar]() {
		return object{{"type", []string{"string", "number", "boolean"}}}
	}
	o := object{{"type", "string"}, {"minLength", 1}}
	if p := tag.Get("pattern"); p != "" {
		o = append(o, member{"pattern", p})
	}
	if e := tag.Get("enum"); e != "" {
		o = append(o, member{"enum", strings.Split(e, ",")})
	}
	return o
}

// structSchema describes a struct. Need is a key that must be there beside those
// whose fields say so themselves.
func structSchema(t reflect.Type, need string) object {
	var properties object
	var required []string
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("yaml")
		if name == "" {
			continue
		}
		properties = append(properties, member{name, schemaOf(f.Type, f.Tag)})
		if f.Tag.Get("required") != "" || name == need {
			required = append(required, name)
		}
	}
	o := object{{"type", "object"}, {"properties", properties}}
	if required != nil {
		o = append(o, member{"required", required})
	}
	return append(o, member{"additionalProperties", false})
}

// docOf returns the description of the key at path, such as vip.address or
// storages[2].disks.
func docOf(path string) string {
	t := reflect.TypeFor[cloudFile]()
	doc := ""
	for _, key := range strings.Split(path, ".") {
		key, _, _ = strings.Cut(key, "[")
		for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return strings.TrimSuffix(doc, ".")
		}
		for i := range t.NumField() {
			if f := t.Field(i); f.Tag.Get("yaml") == key {
				t, doc = f.Type, f.Tag.Get("doc")
				break
			}
		}
	}
	return strings.TrimSuffix(doc, ".")
}
