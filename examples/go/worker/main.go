// Command worker runs jobs of the type "conformance" over the Work stream; see README.md.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	pb "example.com/jobwire/gen/jobwire/v1"
)

const (
	// After SIGTERM handlers have finishTime to end by themselves, then their jobs are given back. The goodbye takes
	// leaveTime at most: what the server has not acked by then runs out with its lease.
	finishTime = 2 * time.Second
	leaveTime  = 9 * time.Second
)

func main() {
	log.SetFlags(log.Ltime | log.Lmsgprefix)
	log.SetPrefix("worker: ")
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	slots, err := strconv.Atoi(cmp.Or(os.Getenv("JOBWIRE_SLOTS"), "8"))
	if err != nil || slots < 1 || slots > 10_000 {
		return fmt.Errorf("JOBWIRE_SLOTS is %q: give a number from 1 to 10000", os.Getenv("JOBWIRE_SLOTS"))
	}
	// A channel's own backoff grows to two minutes: too long for a server that only restarts.
	patience := grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: shortestBackoff, Multiplier: 2, Jitter: 0.2, MaxDelay: longestBackoff},
		MinConnectTimeout: 5 * time.Second,
	}
	conn, err := grpc.NewClient(cmp.Or(os.Getenv("JOBWIRE_ADDRESS"), "127.0.0.1:7780"),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(patience))
	if err != nil {
		return err
	}
	defer conn.Close()

	w := newWorker(pb.NewWorkerServiceClient(conn), &pb.WorkerHello{
		WorkerId:    cmp.Or(os.Getenv("JOBWIRE_WORKER_ID"), fmt.Sprintf("go-%d", os.Getpid())),
		InstanceId:  rand.Text(),
		Queues:      []*pb.QueueSubscription{{Queue: cmp.Or(os.Getenv("JOBWIRE_QUEUE"), "default")}},
		Types:       []string{"conformance"},
		MaxInFlight: int32(slots),
		UserAgent:   "jobwire-example-go/1",
	})
	ctx, giveUp := context.WithCancelCause(context.Background())
	term, restore := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(term, func() {
		restore() // a second signal ends the process at once
		w.leave()
		time.AfterFunc(finishTime, func() { w.stopAll(errLeaving) })
		time.AfterFunc(leaveTime, func() { giveUp(errors.New("left without a goodbye: the server cannot be reached")) })
	})
	return w.serve(ctx)
}
