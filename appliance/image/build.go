package image

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/appliance/image/layout"
)

// Options say what to build. At least one of Disk and Upgrade is named.
type Options struct {
	Disk    string // file to write the disk into
	Format  string // of it: raw or qcow2
	Upgrade string // file to write the upgrade into, which needs SignKey

	Flavour string   // cloud or metal
	Kernel  []string // files of packages with a kernel and its modules, instead of the flavour's pinned one
	Binary  string   // weir, static; "" is the one that runs
	Version string

	Config []File // for the config partition, layout.ConfigFile among them if the router shall have one
	Keys   []byte // authorized_keys, for the first start

	WorkerCPUs    string // list of CPUs that are left to workers alone
	HugePages     int    // of 2 MiB
	KernelOptions string // more for the kernel's command line

	SignKey ed25519.PrivateKey // its public half is what the image trusts for upgrades; nil: none
	Cache   string             // directory for packages; "": weir in the user's cache
}

// File is one for the config partition.
type File struct {
	Name string
	Data []byte
}

// Build makes the image and returns what is in its manifest. The same options, binary, packages and SOURCE_DATE_EPOCH make the same bytes.
func Build(o Options) (m *Manifest, err error) {
	dir, err := os.MkdirTemp("", "weir-image-")
	if err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := o.complete(); err != nil {
		return nil, err
	}
	parts, err := o.gather(dir)
	if err != nil {
		return nil, err
	}
	uki, err := parts.uki(o)
	if err != nil {
		return nil, err
	}
	m = &Manifest{Info: parts.info, CommandLine: parts.commandLine, Without: parts.without}
	m.Parts = append(m.Parts, layout.Part{Name: "unified kernel image", SHA256: bytesSHA256(uki)})
	var files []string
	if o.Disk != "" {
		if err := o.writeDisk(dir, parts, uki); err != nil {
			return nil, err
		}
		files = append(files, o.Disk)
	}
	if o.Upgrade != "" {
		sealed, err := layout.SealUpgrade(uki, o.SignKey)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(o.Upgrade, sealed, 0o644); err != nil {
			return nil, fmt.Errorf("write upgrade: %w", err)
		}
		files = append(files, o.Upgrade)
	}
	for _, file := range files {
		a, err := artifact(file)
		if err != nil {
			return nil, err
		}
		m.Files = append(m.Files, a)
	}
	return m, m.write(files[0]+ManifestSuffix, o.SignKey)
}

// complete fills in what was left out and refuses what cannot be.
func (o *Options) complete() error {
	if o.Disk == "" && o.Upgrade == "" {
		return errors.New("build image: neither a disk nor an upgrade is asked for")
	}
	if o.Upgrade != "" && o.SignKey == nil {
		return errors.New("build upgrade: it needs a key to sign it with (`weir image key` makes one)")
	}
	if o.Format != "raw" && o.Format != "qcow2" {
		return fmt.Errorf("build image: %q is no format: raw and qcow2 are", o.Format)
	}
	if o.Disk != "" && o.Upgrade != "" && filepath.Dir(o.Disk) != filepath.Dir(o.Upgrade) {
		return errors.New("build image: disk and upgrade have one manifest, so they belong into one directory")
	}
	for _, f := range o.Config {
		if !plainName(f.Name) || len(f.Data) > fileMax {
			return fmt.Errorf("build image: the config partition takes no file %q of %d bytes: letters, digits and ._- name one, and %d bytes are the most", f.Name, len(f.Data), fileMax)
		}
	}
	if strings.ContainsAny(o.Version, "\"\\$`\n") {
		return fmt.Errorf("build image: %q is no version", o.Version)
	}
	if o.Binary == "" {
		o.Binary = "/proc/self/exe"
	}
	if o.Cache == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("build image: find a place for packages: %w", err)
		}
		o.Cache = filepath.Join(cache, "weir")
	}
	cache, err := filepath.Abs(o.Cache) // tools run elsewhere
	o.Cache = cache
	return err
}

// fileMax leaves the config partition room for commits.
const fileMax = configSize / 4

// plainName is true of a name that debugfs takes without quotes, and that leads nowhere else.
func plainName(name string) bool {
	for _, r := range name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", r) {
			return false
		}
	}
	return strings.Trim(name, ".") != "" && name[0] != '-'
}

// parts are what an image is made of, read.
type parts struct {
	loader, stub, kernel, initrd []byte
	commandLine                  string
	without                      []string // modules of the flavour that the kernel does not have
	epoch                        int64
	info                         layout.Info
}

// gather fetches, reads and makes the parts.
func (o Options) gather(dir string) (*parts, error) {
	fl, err := flavourOf(o.Flavour)
	if err != nil {
		return nil, err
	}
	p := &parts{info: layout.Info{Version: o.Version, Flavour: fl.name}}
	if p.commandLine, err = o.commandLine(); err != nil {
		return nil, err
	}
	binary, err := static(o.Binary)
	if err != nil {
		return nil, err
	}
	packages, err := o.packages(fl)
	if err != nil {
		return nil, err
	}
	for _, d := range packages {
		if err := d.unpack(o.Cache, dir); err != nil {
			return nil, err
		}
		p.info.Parts = append(p.info.Parts, layout.Part{Name: d.name, Version: d.version, SHA256: d.sha256})
	}
	p.info.Parts = append(p.info.Parts, layout.Part{Name: "weir", Version: o.Version, SHA256: bytesSHA256(binary)})
	k, err := findKernel(dir)
	if err != nil {
		return nil, err
	}
	p.info.Kernel = k.release
	if p.epoch, err = epoch(k.file); err != nil {
		return nil, err
	}
	p.info.Built = time.Unix(p.epoch, 0).UTC()
	if o.SignKey != nil {
		p.info.UpgradeKey = o.SignKey.Public().(ed25519.PublicKey)
	}
	efi := filepath.Join(dir, "usr/lib/systemd/boot/efi")
	for _, r := range []struct {
		to   *[]byte
		file string
	}{{&p.kernel, k.file}, {&p.loader, filepath.Join(efi, "systemd-bootx64.efi")}, {&p.stub, filepath.Join(efi, "linuxx64.efi.stub")}} {
		if *r.to, err = os.ReadFile(r.file); err != nil {
			return nil, fmt.Errorf("read a part of the image: %w", err)
		}
	}
	known, err := readModules(k.modules)
	if err != nil {
		return nil, err
	}
	load, without, err := known.closure(fl.modules)
	lacks := without
	if o.Kernel != nil { // drivers come, go, and are built in: another kernel may do without most
		lacks = slices.DeleteFunc(slices.Clone(without), func(name string) bool { return !essential(name) })
	}
	if err == nil && len(lacks) > 0 {
		err = fmt.Errorf("it has no %s", strings.Join(lacks, ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("choose modules of kernel %s: %w", k.release, err)
	}
	p.without = without
	p.initrd, err = initramfs(binary, k, load, p.info)
	return p, err
}

// packages are those that the image is made of.
func (o Options) packages(fl flavour) (list []debian, err error) {
	if o.Kernel == nil {
		kernel, err := pinned(fl.name)
		if err != nil {
			return nil, err
		}
		list = append(list, kernel)
	}
	for _, file := range o.Kernel {
		d, err := packageFile(file)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	boot, err := pinned(roleBoot)
	return append(list, boot), err
}

// epoch is the time that the image says it was built: SOURCE_DATE_EPOCH, or else the kernel's in its package.
func epoch(kernel string) (int64, error) {
	if text := os.Getenv(epochVariable); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return 0, fmt.Errorf("build image: %s is %q, not seconds since 1970", epochVariable, text)
		}
		return n, nil
	}
	stat, err := os.Stat(kernel)
	if err != nil {
		return 0, fmt.Errorf("read a part of the image: %w", err)
	}
	return stat.ModTime().Unix(), nil
}

// epochVariable is what reproducible builds agree on: see reproducible-builds.org/specs/source-date-epoch.
const epochVariable = "SOURCE_DATE_EPOCH"

// uki joins the parts, as for slot A and generation 1.
func (p *parts) uki(o Options) ([]byte, error) {
	// systemd-boot orders entries by IMAGE_ID and IMAGE_VERSION, which has the generation: see layout.
	release := fmt.Sprintf("ID=weir\nIMAGE_ID=weir\n%s\nNAME=weir\nVERSION=%q\nPRETTY_NAME=%q\n", layout.FirstGeneration, o.Version, "weir "+o.Version)
	uki, err := appendSections(p.stub, []section{
		{".osrel", []byte(release)},
		{".cmdline", []byte(p.commandLine)},
		{".uname", []byte(p.info.Kernel)},
		{".initrd", p.initrd},
		{".linux", p.kernel}, // last: the kernel, unpacking itself in place, may write behind its end
	})
	if err != nil {
		return nil, err
	}
	if len(uki) > layout.UpgradeSizeMax {
		return nil, fmt.Errorf("build image: it has %d bytes, and a slot has room for %d", len(uki), layout.UpgradeSizeMax)
	}
	return uki, nil
}

// writeDisk makes the disk and brings it into its format.
func (o Options) writeDisk(dir string, p *parts, uki []byte) (err error) {
	d := disk{loader: p.loader, uki: uki}
	seed := sha256.New()
	fmt.Fprintf(seed, "%s\n", bytesSHA256(uki))
	for _, f := range o.Config {
		d.config = append(d.config, namedFile{f.Name, 0o644, f.Data})
		fmt.Fprintf(seed, "%s %s\n", f.Name, bytesSHA256(f.Data))
	}
	if o.Keys != nil {
		d.config = append(d.config, namedFile{layout.KeysFile, 0o600, o.Keys})
		fmt.Fprintf(seed, "%s %s\n", layout.KeysFile, bytesSHA256(o.Keys))
	}
	inputs := seed.Sum(nil)
	d.id = func(what string) [16]byte {
		sum := sha256.Sum256(append(inputs[:len(inputs):len(inputs)], what...))
		id := [16]byte(sum[:16])
		id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // version 8 of RFC 9562: made as one likes
		return id
	}
	output, err := filepath.Abs(o.Disk)
	if err != nil {
		return err
	}
	unfinished := output + ".part" // what fails leaves no half of a disk
	defer func() { err = errors.Join(err, os.RemoveAll(unfinished)) }()
	raw := unfinished
	if o.Format != "raw" {
		raw = filepath.Join(dir, "raw")
	}
	restore, err := setenv(epochVariable, strconv.FormatInt(p.epoch, 10)) // go-diskfs has no other way to say it
	if err != nil {
		return err
	}
	defer restore()
	if err := d.write(raw, p.epoch); err != nil {
		return err
	}
	if raw != unfinished {
		if err := run(dir, nil, "qemu-img", "convert", "-q", "-c", "-m", "1", "-f", "raw", "-O", o.Format, raw, unfinished); err != nil {
			return fmt.Errorf("convert the disk: %w", err)
		}
	}
	return os.Rename(unfinished, output)
}

// setenv sets a variable until restore is called.
func setenv(name, value string) (restore func(), err error) {
	old, had := os.LookupEnv(name)
	restore = func() {
		if had {
			_ = os.Setenv(name, old) // it could be set before
		} else {
			_ = os.Unsetenv(name)
		}
	}
	return restore, os.Setenv(name, value)
}
