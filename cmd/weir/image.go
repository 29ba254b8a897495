package main

import (
	"crypto/ed25519"
	"fmt"
	"os"
	"strings"

	"weir/appliance/image"
	"weir/appliance/image/layout"
)

type imageCommand struct {
	Build  imageBuildCommand  `cmd:"" help:"Build a disk that boots into this weir, an upgrade, or both. Needs no root."`
	Key    imageKeyCommand    `cmd:"" help:"Make a key to sign images with."`
	Verify imageVerifyCommand `cmd:"" help:"Check a manifest and the files that it lists, or an upgrade."`
}

type imageBuildCommand struct {
	Output  string   `short:"o" placeholder:"FILE" help:"Write the disk into FILE, and what it is made of into FILE.manifest.json."`
	Upgrade string   `placeholder:"FILE" help:"Write what 'request upgrade' takes into FILE. Needs --sign-key."`
	Flavour string   `enum:"cloud,metal" default:"cloud" help:"Kernel and drivers: cloud for virtual machines, metal for both (${default})."`
	Kernel  []string `placeholder:"DEB" sep:"none" help:"Take the kernel and its modules from this package of Debian's instead of the pinned one; once for each package where there are several."`
	Format  string   `enum:"raw,qcow2" default:"raw" help:"Format of the disk: raw or qcow2 (${default})."`

	Config        string `short:"c" placeholder:"FILE" xor:"first" help:"The configuration to start with, with the files of routes that it names."`
	SSHKey        string `name:"ssh-key" placeholder:"FILE" xor:"first" help:"Instead: public keys that may log in as admin, to bring a configuration."`
	CPUsForWorker string `name:"cpus-for-workers" placeholder:"LIST" help:"CPUs that the kernel leaves to workers, as 2-7."`
	HugePages     int    `placeholder:"N" help:"Pages of 2 MiB to set aside at the start."`
	KernelOptions string `placeholder:"WORDS" help:"More for the kernel's command line."`

	SignKey string `placeholder:"FILE" help:"Sign with this key, whose public half is what the image will trust for upgrades."`
	Binary  string `placeholder:"FILE" help:"The weir to put in (the one that runs)."`
	Cache   string `placeholder:"DIR" help:"Where Debian's packages are kept (weir in the user's cache)."`
}

// Run builds, and says what it built.
func (c *imageBuildCommand) Run() error {
	o := image.Options{
		Disk: c.Output, Format: c.Format, Upgrade: c.Upgrade, Flavour: c.Flavour, Kernel: c.Kernel, Binary: c.Binary, Version: version,
		WorkerCPUs: c.CPUsForWorker, HugePages: c.HugePages, KernelOptions: c.KernelOptions, Cache: c.Cache,
	}
	if c.Output == "" && c.Upgrade == "" {
		fmt.Fprintln(os.Stderr, "weir: nothing to build: -o FILE asks for a disk, --upgrade FILE for an upgrade")
		return silent{exitUsage}
	}
	var err error
	if c.SignKey != "" {
		if o.SignKey, err = image.ReadKey(c.SignKey); err != nil {
			return err
		}
	}
	if c.Config != "" {
		if o.Config, err = firstConfig(c.Config); err != nil {
			return err
		}
	}
	if c.SSHKey != "" {
		if o.Keys, err = os.ReadFile(c.SSHKey); err != nil {
			return fmt.Errorf("read keys to log in with: %w", err)
		}
	}
	m, err := image.Build(o)
	if err != nil {
		return err
	}
	printManifest(m)
	if o.SignKey == nil {
		fmt.Println("without --sign-key the manifest is not signed, and routers with this image take no upgrades")
	}
	return nil
}

// firstConfig checks the configuration that a router shall start with, and returns it with the files of routes that it names.
func firstConfig(name string) ([]image.File, error) {
	config, err := load(name)
	if err != nil {
		return nil, err
	}
	printProblems(config.Warnings)
	files := []image.File{{Name: layout.ConfigFile, Data: config.Text}}
	for _, r := range config.RoutesFiles() {
		data, err := os.ReadFile(r.Path)
		if err != nil {
			return nil, fmt.Errorf("read routes: %w", err)
		}
		files = append(files, image.File{Name: r.Name, Data: data})
	}
	return files, nil
}

func printManifest(m *image.Manifest) {
	fmt.Printf("weir %s, %s, kernel %s\n", m.Version, m.Flavour, m.Kernel)
	if len(m.Without) > 0 {
		fmt.Printf("this kernel has no %s\n", strings.Join(m.Without, ", "))
	}
	for _, f := range m.Files {
		fmt.Printf("%-24s %10.1f MiB  sha256 %s\n", f.Name, float64(f.Size)/(1<<20), f.SHA256)
	}
}

type imageKeyCommand struct {
	Output string `short:"o" required:"" placeholder:"FILE" help:"Write the key into FILE, and its public half into FILE.pub."`
}

// Run makes the key.
func (c *imageKeyCommand) Run() error { return image.NewKey(c.Output) }

type imageVerifyCommand struct {
	Key  string `required:"" placeholder:"FILE" help:"The public half of the key."`
	File string `arg:"" help:"A manifest or an upgrade."`
}

// Run checks, and says what it is.
func (c *imageVerifyCommand) Run() error {
	key, err := image.ReadPublicKey(c.Key)
	if err != nil {
		return err
	}
	if strings.HasSuffix(c.File, image.ManifestSuffix) {
		m, err := image.Verify(c.File, key)
		if err != nil {
			return err
		}
		printManifest(m)
		return nil
	}
	return verifyUpgrade(c.File, key)
}

func verifyUpgrade(name string, key ed25519.PublicKey) error {
	file, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read upgrade: %w", err)
	}
	uki, err := layout.OpenUpgrade(file, key)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Printf("%s: an upgrade of %.1f MiB, signed with this key\n", name, float64(len(uki))/(1<<20))
	return nil
}
