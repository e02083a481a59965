// One FerretDB over SQLite, as its embeddable package gives it: a backend for the tests and the demo.
// Usage: ferret -listen 127.0.0.1:PORT -dir DIRECTORY. Writes a document that tells its address into where.marker, says "ready ADDRESS", and stays until SIGTERM.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
	"github.com/FerretDB/wire"
	"github.com/FerretDB/wire/wirebson"
	"github.com/FerretDB/wire/wireclient"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:27018", "address to listen on")
	dir := flag.String("dir", ".", "directory of the databases")
	flag.Parse()
	path, err := filepath.Abs(*dir)
	if err != nil {
		log.Fatal(err)
	}
	f, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: *listen},
		Handler:   "sqlite",
		SQLiteURL: "file:" + path + "/",
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	go func() {
		if err := mark(ctx, f.MongoDBURI(), *listen); err != nil { // the URI is known once it listens
			log.Fatal(err)
		}
		fmt.Println("ready", *listen)
	}()
	if err := f.Run(ctx); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

// mark makes the instance tell itself apart: {_id: "marker", backend: its address} in where.marker.
func mark(ctx context.Context, uri, address string) error {
	c, err := wireclient.Connect(ctx, uri, slog.Default())
	if err != nil {
		return err
	}
	defer c.Close()
	update := wirebson.MustDocument("q", wirebson.MustDocument("_id", "marker"), "u", wirebson.MustDocument("backend", address), "upsert", true)
	_, reply, err := c.Request(ctx, wire.MustOpMsg("update", "marker", "updates", wirebson.MustArray(update), "$db", "where"))
	if err != nil {
		return err
	}
	raw, err := reply.(*wire.OpMsg).RawDocument()
	if err != nil {
		return err
	}
	doc, err := raw.Decode()
	if err == nil && doc.Get("ok") != 1.0 {
		err = fmt.Errorf("no marker: %v", doc)
	}
	return err
}
