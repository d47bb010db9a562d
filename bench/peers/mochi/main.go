// The mochi-mqtt peer of the benchmark: its server library behind one loopback listener,
// everybody allowed, no log, no store. Built and started by ../mochi.ts.
package main

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

func main() {
	address := flag.String("listen", "127.0.0.1:1883", "address to listen on")
	writesPending := flag.Int("writes-pending", 0, "messages a client may have waiting, 0 for the default")
	flag.Parse()

	capabilities := mqtt.NewDefaultServerCapabilities()
	capabilities.MaximumInflight = 65535
	capabilities.ReceiveMaximum = 65535
	if *writesPending > 0 {
		capabilities.MaximumClientWritesPending = int32(*writesPending)
	}
	server := mqtt.New(&mqtt.Options{
		Capabilities: capabilities,
		Logger:       slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	err := server.AddHook(new(auth.AllowHook), nil)
	if err == nil {
		err = server.AddListener(listeners.NewTCP(listeners.Config{ID: "bench", Address: *address}))
	}
	if err == nil {
		err = server.Serve()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}

	// SIGUSR2 collects and gives pages back, so that idle memory is compared after a collection.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR2)
	for received := range signals {
		if received != syscall.SIGUSR2 {
			_ = server.Close()
			return
		}
		debug.FreeOSMemory()
	}
}
