// Command kubectl writes what kubectl takes each file of ../cases to mean to ../expected.
//
//	cd tests/golden/yaml/kubectl && go run .
//
// Files are split by apimachinery's YAMLReader, or read by its YAMLOrJSONDecoder if they begin with a
// brace. A document that is read, but refused when read strictly (a duplicate key), is marked.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"
	"path/filepath"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

type document struct {
	Number int             `json:"number"`
	JSON   json.RawMessage `json:"json,omitempty"`
	Error  bool            `json:"error,omitempty"`
	Strict bool            `json:"refusedIfStrict,omitempty"`
}

func main() {
	files, err := filepath.Glob("../cases/*")
	if err != nil {
		log.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			log.Fatal(err)
		}
		out, err := json.MarshalIndent(read(text), "", " ")
		if err != nil {
			log.Fatal(file, err)
		}
		if err := os.WriteFile("../expected/"+filepath.Base(file)+".json", append(out, '\n'), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}

func read(text []byte) []document {
	if utilyaml.IsJSONBuffer(text) {
		return readJSON(text)
	}
	documents := []document{}
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for number := 1; ; number++ {
		chunk, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return documents
		}
		if err != nil {
			return append(documents, document{Number: number, Error: true})
		}
		value, err := yaml.YAMLToJSON(chunk)
		_, strict := yaml.YAMLToJSONStrict(chunk)
		documents = append(documents, document{Number: number, JSON: value, Error: err != nil, Strict: err == nil && strict != nil})
	}
}

func readJSON(text []byte) []document {
	documents := []document{}
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for number := 1; ; number++ {
		var value json.RawMessage
		err := decoder.Decode(&value)
		if err == nil {
			// kubectl turns the bytes into an object next, which no number beyond a float survives.
			var object any
			err = json.Unmarshal(value, &object)
		}
		if errors.Is(err, io.EOF) {
			return documents
		}
		if err != nil {
			return append(documents, document{Number: number, Error: true})
		}
		documents = append(documents, document{Number: number, JSON: value})
	}
}
