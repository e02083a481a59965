// The Go driver. Usage: driver URI DATABASE DOCUMENTS.json. As node/driver.js.
package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

type number struct {
	ID    int32  `bson:"_id"`
	Group int32  `bson:"group"`
	Text  string `bson:"text"`
	Seen  bool   `bson:"seen,omitempty"`
}

func check(err error) {
	if err != nil {
		log.Output(2, err.Error())
		os.Exit(1)
	}
}

func equal[T comparable](got, want T) {
	if got != want {
		log.Output(2, fmt.Sprintf("got %v, want %v", got, want))
		os.Exit(1)
	}
}

func main() {
	log.SetFlags(log.Lshortfile)
	uri, name, file := os.Args[1], os.Args[2], os.Args[3]
	client, err := mongo.Connect(options.Client().ApplyURI(uri).SetAppName(name))
	check(err)
	session, err := client.StartSession()
	check(err)
	ctx := mongo.NewSessionContext(context.Background(), session)
	db := client.Database(name)

	var marker struct{ Backend string }
	check(client.Database("where").Collection("marker").FindOne(ctx, bson.D{}).Decode(&marker))
	fmt.Println("backend", marker.Backend)
	cursors(ctx, db.Collection("numbers"))
	changes(ctx, db.Collection("numbers"))
	indexes(ctx, db.Collection("numbers").Indexes())
	big(ctx, db.Collection("big"))
	text, err := os.ReadFile(file)
	check(err)
	_, err = db.Collection("ours").InsertMany(ctx, documents(text))
	check(err)
	for _, collection := range []string{"ours", "theirs"} {
		fmt.Println(collection, hex.EncodeToString(bytes.Join(raw(ctx, db.Collection(collection), options.Find()), nil)))
	}
	session.EndSession(ctx)
	check(client.Disconnect(ctx))
	fmt.Println("ok")
}

func cursors(ctx context.Context, c *mongo.Collection) {
	docs := make([]number, 10000)
	for i := range docs {
		docs[i] = number{ID: int32(i), Group: int32(i % 10), Text: fmt.Sprintf("number %d", i)}
	}
	inserted, err := c.InsertMany(ctx, docs)
	check(err)
	equal(len(inserted.InsertedIDs), len(docs))
	byID := bson.D{{Key: "_id", Value: 1}}
	all, err := c.Find(ctx, bson.D{}, options.Find().SetBatchSize(500).SetSort(byID))
	check(err)
	some, err := c.Find(ctx, bson.D{{Key: "group", Value: 7}}, options.Find().SetBatchSize(37).SetSort(byID))
	check(err)
	var got number
	for i, want := range docs { // two cursors in turns
		equal(all.Next(ctx), true)
		check(all.Decode(&got))
		equal(got, want)
		if i%10 == 7 {
			equal(some.Next(ctx), true)
			check(some.Decode(&got))
			equal(got, want)
		}
	}
	for _, cursor := range []*mongo.Cursor{all, some} {
		equal(cursor.Next(ctx), false)
		check(cursor.Err())
	}
	unread, err := c.Find(ctx, bson.D{}, options.Find().SetBatchSize(2))
	check(err)
	equal(unread.Next(ctx), true)
	check(unread.Close(ctx)) // killCursors
}

func changes(ctx context.Context, c *mongo.Collection) {
	cursor, err := c.Aggregate(ctx, bson.A{
		bson.M{"$match": bson.M{"group": bson.M{"$lt": 5}}},
		bson.M{"$group": bson.M{"_id": "$group", "n": bson.M{"$sum": 1}}},
		bson.M{"$sort": bson.M{"_id": 1}},
	}, options.Aggregate().SetBatchSize(2))
	check(err)
	var results []struct {
		ID int32 `bson:"_id"`
		N  int32
	}
	check(cursor.All(ctx, &results))
	equal(fmt.Sprint(results), "[{0 1000} {1 1000} {2 1000} {3 1000} {4 1000}]")

	updated, err := c.UpdateMany(ctx, bson.M{"_id": bson.M{"$lt": 5}}, bson.M{"$set": bson.M{"seen": true}})
	check(err)
	equal(updated.ModifiedCount, 5)
	var after number
	check(c.FindOneAndUpdate(ctx, bson.M{"_id": 4}, bson.M{"$inc": bson.M{"group": 1}}, options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&after))
	equal(after, number{ID: 4, Group: 5, Text: "number 4", Seen: true})
	deleted, err := c.DeleteMany(ctx, bson.M{"group": 4})
	check(err)
	equal(deleted.DeletedCount, 999)
	n, err := c.CountDocuments(ctx, bson.M{})
	check(err)
	equal(n, 9001)
	_, err = c.InsertOne(ctx, bson.M{"_id": 1})
	equal(mongo.IsDuplicateKeyError(err), true)
}

func indexes(ctx context.Context, view mongo.IndexView) {
	name, err := view.CreateOne(ctx, mongo.IndexModel{Keys: bson.M{"group": 1}, Options: options.Index().SetName("by_group")})
	check(err)
	equal(name, "by_group")
	list, err := view.ListSpecifications(ctx)
	check(err)
	equal(len(list), 2)
	check(view.DropOne(ctx, "by_group"))
	list, err = view.ListSpecifications(ctx)
	check(err)
	equal(len(list), 1)
}

func big(ctx context.Context, c *mongo.Collection) {
	docs := make([]any, 40)
	for i := range docs {
		data, err := bson.Marshal(bson.D{{Key: "_id", Value: int32(i)}, {Key: "data", Value: strings.Repeat(fmt.Sprintf("big %d", i%10), 200000)}})
		check(err)
		docs[i] = bson.Raw(data)
	}
	inserted, err := c.InsertMany(ctx, docs)
	check(err)
	equal(len(inserted.InsertedIDs), len(docs))
	for i, got := range raw(ctx, c, options.Find().SetBatchSize(15).SetSort(bson.D{{Key: "_id", Value: 1}})) {
		equal(bytes.Equal(got, docs[i].(bson.Raw)), true)
		docs[i] = nil
	}
	equal(docs[len(docs)-1], nil)
}

// documents reads an array of extended JSON.
func documents(text []byte) (docs []any) {
	var parts []json.RawMessage
	check(json.Unmarshal(text, &parts))
	for _, part := range parts {
		var doc bson.D
		check(bson.UnmarshalExtJSON(part, true, &doc))
		docs = append(docs, doc)
	}
	return docs
}

// raw is a collection's documents as they came.
func raw(ctx context.Context, c *mongo.Collection, how *options.FindOptionsBuilder) (docs [][]byte) {
	cursor, err := c.Find(ctx, bson.D{}, how)
	check(err)
	for cursor.Next(ctx) {
		docs = append(docs, bytes.Clone(cursor.Current))
	}
	check(cursor.Err())
	return docs
}
