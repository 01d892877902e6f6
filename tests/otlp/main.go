// A receiver of OTLP over HTTP for tests: it decodes traces with the decoder of the OpenTelemetry Collector, and shows
// what it got.
//
//	POST /v1/traces  takes traces in JSON, as the Collector does
//	GET  /traces     all requests so far, as the Collector would send them on
package main

import (
	"encoding/json"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"sync"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// The largest request that the Collector takes by default.
const largest = 20 << 20

type receiver struct {
	mutex  sync.Mutex
	traces []json.RawMessage
}

func (r *receiver) take(answer http.ResponseWriter, asked *http.Request) {
	if kind := asked.Header.Get("Content-Type"); kind != "application/json" {
		http.Error(answer, "the content type is "+kind, http.StatusUnsupportedMediaType)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(answer, asked.Body, largest))
	if err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	request := ptraceotlp.NewExportRequest()
	if err := request.UnmarshalJSON(body); err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	traces, err := request.MarshalJSON()
	if err != nil {
		http.Error(answer, err.Error(), http.StatusInternalServerError)
		return
	}
	taken, err := ptraceotlp.NewExportResponse().MarshalJSON()
	if err != nil {
		http.Error(answer, err.Error(), http.StatusInternalServerError)
		return
	}
	r.mutex.Lock()
	r.traces = append(r.traces, traces)
	r.mutex.Unlock()
	answer.Header().Set("Content-Type", "application/json")
	_, _ = answer.Write(taken)
}

func (r *receiver) show(answer http.ResponseWriter, _ *http.Request) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	answer.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(answer).Encode(r.traces)
}

func main() {
	address := flag.String("listen", "127.0.0.1:0", "where to listen")
	flag.Parse()
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on %s", listener.Addr())
	receiver := &receiver{traces: []json.RawMessage{}}
	http.HandleFunc("POST /v1/traces", receiver.take)
	http.HandleFunc("GET /traces", receiver.show)
	log.Fatal(http.Serve(listener, nil))
}
