package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"

	"weir/appliance"
)

type runCommand struct {
	Config   string        `short:"c" required:"" placeholder:"FILE" help:"The configuration."`
	Control  string        `default:"/run/weir/control.sock" placeholder:"SOCKET" help:"The local control socket (${default})."`
	StateDir string        `default:"/run/weir" placeholder:"DIR" help:"Where to note what is changed in the kernel (${default})."`
	Log      string        `default:"console" enum:"console,json" help:"Log format: console or json (${default})."`
	IdleSpin time.Duration `default:"20us" help:"How long an idle worker may spin for the next packet before it sleeps (${default}); 0 never spins."`
}

func (c *runCommand) Run() error {
	config, err := load(c.Config)
	if err != nil {
		return err
	}
	log, err := zap.NewDevelopment()
	if err != nil {
		return err
	}
	router, err := appliance.New(appliance.Options{CPUs: config.System.Workers, IdleSpin: c.IdleSpin, StateDir: c.StateDir}, log)
	if err != nil {
		return err
	}
	defer router.Close()
	if err := router.Prepare(config.Snapshot); err != nil {
		return err
	}
	if _, err := router.Publish(); err != nil {
		return err
	}
	daemon.SdNotify(false, daemon.SdNotifyReady)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	for s := range signals {
		switch s {
		case syscall.SIGUSR1:
			fmt.Printf("%+v\n", router.State())
			continue
		case syscall.SIGHUP:
			config, err := load(c.Config)
			if err != nil {
				continue
			}
			if err := router.Prepare(config.Snapshot); err != nil {
				log.Error("reload", zap.Error(err))
				continue
			}
			_, err = router.Publish()
			log.Info("reloaded", zap.Error(err))
			continue
		}
		return router.Close()
	}
	return nil
}
