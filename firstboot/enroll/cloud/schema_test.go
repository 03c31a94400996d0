package cloud

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

// TestSchemaIsThatOfTheTypes: schema.json is what the types of the file say.
func TestSchemaIsThatOfTheTypes(t *testing.T) {
	made, err := makeSchema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "schema.json", string(made))
	if !*update && !bytes.Equal(made, Schema()) {
		t.Error("the schema that is embedded is another")
	}
}

func loadSchema(t *testing.T) map[string]any {
	t.Helper()
	data, err := os.ReadFile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var s map[string]any
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// keysOf lists the paths of all keys that a schema knows, lists as [].
func keysOf(path string, s map[string]any, to map[string]map[string]any) {
	to[path] = s
	if items, ok := s["items"].(map[string]any); ok {
		keysOf(path+"[]", items, to)
	}
	if free, ok := s["additionalProperties"].(map[string]any); ok {
		keysOf(path+".*", free, to)
	}
	properties, _ := s["properties"].(map[string]any)
	for key, below := range properties {
		keysOf(strings.TrimPrefix(path+"."+key, "."), below.(map[string]any), to)
	}
}

// keysIn lists the paths of all keys of a file in the same form.
func keysIn(path string, v any, free bool, to map[string]bool) {
	to[path] = true
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			keysIn(path+"[]", e, free, to)
		}
	case map[string]any:
		for key, e := range v {
			below := strings.TrimPrefix(path+"."+key, ".")
			if free {
				below = path + ".*"
			}
			keysIn(below, e, free || below == "config", to)
		}
	}
}

func loadYAML(t *testing.T, path string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := yaml.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestSchemaAndReaderAgree: full.yaml has every key of the schema, and the
// reader and the schema both take it. What one of them refuses, so does the
// other.
func TestSchemaAndReaderAgree(t *testing.T) {
	schema := loadSchema(t)
	known, used := map[string]map[string]any{}, map[string]bool{}
	keysOf("", schema, known)
	full := loadYAML(t, "testdata/full.yaml")
	keysIn("", full, false, used)
	if d := cmp.Diff(slices.Sorted(maps.Keys(known)), slices.Sorted(maps.Keys(used))); d != "" {
		t.Errorf("keys of schema.json (-) and full.yaml (+) differ:\n%s", d)
	}
	data, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse("full.yaml", data); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"testdata/full.yaml", "lab.yaml", "three.yaml"} {
		if wrong := validate(schema, loadYAML(t, name), ""); wrong != nil {
			t.Errorf("%s against the schema: %v", name, wrong)
		}
	}
	for path, s := range known {
		for _, c := range mutations(path, s) {
			v := loadYAML(t, "testdata/full.yaml")
			if !c.apply(v) {
				t.Errorf("full.yaml has no %s", path)
				continue
			}
			agree(t, c, schema, v)
		}
	}
}

// agree compares what schema and reader say about a value that was changed.
func agree(t *testing.T, c mutation, schema map[string]any, v map[string]any) {
	t.Helper()
	text, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	_, findings := Examine("f", text)
	reader := slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity == Error })
	if wrong := validate(schema, v, ""); (wrong != nil) == c.good || reader == c.good {
		t.Errorf("%s = %v: good %v, schema says %v, reader says %v", c.path, c.value, c.good, wrong, findings)
	}
}

// A mutation puts a value in the place of another.
type mutation struct {
	path  string
	value any // nil: take the key out
	good  bool
}

// mutations are made of what a schema says about a path: bounds and beyond,
// kinds, unknown and missing keys.
func mutations(path string, s map[string]any) []mutation {
	var all []mutation
	if least, ok := s["minimum"].(float64); ok {
		most := s["maximum"].(float64)
		all = append(all, mutation{path, int(least) - 1, false}, mutation{path, int(most) + 1, false}, mutation{path, int(least), true})
	}
	switch s["type"] {
	case "object":
		all = append(all, mutation{path, []any{"a"}, false})
		if s["additionalProperties"] == false {
			all = append(all, mutation{strings.TrimPrefix(path+".nobody-knows-this", "."), "a", false})
		}
	case "array", "integer", "number":
		all = append(all, mutation{path, "a", false})
	case "string":
		all = append(all, mutation{path, []any{"a"}, false}, mutation{path, "", false})
		if s["enum"] != nil || s["pattern"] != nil {
			all = append(all, mutation{path, "No Such Word!", false})
		}
	}
	required, _ := s["required"].([]any)
	for _, key := range required {
		all = append(all, mutation{strings.TrimPrefix(path+"."+key.(string), "."), nil, false})
	}
	// These depend on each other, so a bound alone is not good in itself.
	related := map[string]bool{
		"networks.management.mtu": true, "networks.public.mtu": true, "networks.tunnel.mtu": true, "networks.storage.mtu": true,
		"networks.management.vlan": true, "networks.public.vlan": true, "networks.tunnel.vlan": true, "networks.storage.vlan": true,
	}
	return slices.DeleteFunc(all, func(m mutation) bool { return path == "" && m.path == "" || m.good && related[path] })
}

// apply sets the value in a tree; in a list the first entry.
func (m mutation) apply(tree map[string]any) bool {
	var at any = tree
	keys := regexp.MustCompile(`[^.\[\]]+|\[\]`).FindAllString(m.path, -1)
	for i, key := range keys {
		last := i == len(keys)-1
		switch v := at.(type) {
		case []any:
			if len(v) == 0 || key != "[]" {
				return false
			}
			if last {
				v[0] = m.value
			}
			at = v[0]
		case map[string]any:
			if key == "*" {
				key = slices.Sorted(maps.Keys(v))[0]
			}
			switch {
			case last && m.value == nil:
				delete(v, key)
			case last:
				v[key] = m.value
			}
			at = v[key]
		default:
			return false
		}
	}
	return true
}

// validate is as much of JSON Schema as schema.json uses.
func validate(s map[string]any, v any, path string) error {
	for key := range s {
		if !slices.Contains([]string{"$schema", "$id", "title", "description", "type", "properties", "required", "additionalProperties", "items", "minLength", "pattern", "enum", "minimum", "maximum"}, key) {
			return fmt.Errorf("%s: the test does not know the keyword %s", path, key)
		}
	}
	number, isNumber := asFloat(v)
	text, isText := v.(string)
	object, isObject := v.(map[string]any)
	list, isList := v.([]any)
	_, isBool := v.(bool)
	is := map[string]bool{"number": isNumber, "integer": isNumber && number == float64(int(number)), "string": isText, "object": isObject, "array": isList, "boolean": isBool}
	types, several := s["type"].([]any)
	if !several {
		types = []any{s["type"]}
	}
	if !slices.ContainsFunc(types, func(t any) bool { return is[t.(string)] }) {
		return fmt.Errorf("%s: %v is not %v", path, v, s["type"])
	}
	least, bounded := s["minimum"].(float64)
	most, _ := s["maximum"].(float64)
	length, _ := s["minLength"].(float64)
	pattern, _ := s["pattern"].(string)
	enum, _ := s["enum"].([]any)
	switch {
	case bounded && (number < least || number > most):
		return fmt.Errorf("%s: %v is not within %v and %v", path, v, least, most)
	case isText && len(text) < int(length):
		return fmt.Errorf("%s is too short", path)
	case !regexp.MustCompile(pattern).MatchString(text):
		return fmt.Errorf("%s: %q is not %s", path, text, pattern)
	case enum != nil && !slices.Contains(enum, v):
		return fmt.Errorf("%s: %v is not one of %v", path, v, enum)
	}
	for i, e := range list {
		if err := validate(s["items"].(map[string]any), e, fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	return validateObject(s, object, path)
}

func validateObject(s, object map[string]any, path string) error {
	required, _ := s["required"].([]any)
	for _, key := range required {
		if _, ok := object[key.(string)]; object != nil && !ok {
			return fmt.Errorf("%s: %s is missing", path, key)
		}
	}
	properties, _ := s["properties"].(map[string]any)
	for key, e := range object {
		below, ok := properties[key].(map[string]any)
		if !ok {
			below, ok = s["additionalProperties"].(map[string]any)
		}
		if !ok {
			return fmt.Errorf("%s: unknown key %s", path, key)
		}
		if err := validate(below, e, path+"."+key); err != nil {
			return err
		}
	}
	return nil
}

func asFloat(v any) (float64, bool) {
	switch r := reflect.ValueOf(v); {
	case !r.IsValid():
		return 0, false
	case r.CanInt():
		return float64(r.Int()), true
	case r.CanUint():
		return float64(r.Uint()), true
	case r.CanFloat():
		return r.Float(), true
	}
	return 0, false
}

// TestPatternsAreTheReaders: what the schema says of names is what is checked.
func TestPatternsAreTheReaders(t *testing.T) {
	known := map[string]map[string]any{}
	keysOf("", loadSchema(t), known)
	for path, re := range map[string]*regexp.Regexp{"name": cloudName, "region": regionName, "controllers[].name": hostName} {
		if known[path]["pattern"] != re.String() {
			t.Errorf("%s: the schema has %v, the reader %s", path, known[path]["pattern"], re)
		}
	}
	if d := cmp.Diff(bondModes(), strings.Split(fmtEnum(known["controllers[].bonds[].mode"]), ",")); d != "" {
		t.Error(d)
	}
}

func fmtEnum(s map[string]any) string {
	var words []string
	for _, w := range s["enum"].([]any) {
		words = append(words, w.(string))
	}
	return strings.Join(words, ",")
}
