// Drives the Go module go-tuf by the protocol that integration-tests/tests/stack/tuf.rs describes.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(metadataURL, targetsURL, metadataDir, targetDir string, wanted []string) error {
	root, err := os.ReadFile(filepath.Join(metadataDir, "root.json"))
	if err != nil {
		return err
	}
	settings, err := config.New(metadataURL, root)
	if err != nil {
		return err
	}
	settings.LocalMetadataDir = metadataDir
	settings.LocalTargetsDir = targetDir
	settings.RemoteTargetsURL = targetsURL
	client, err := updater.New(settings)
	if err != nil {
		return err
	}
	if err := client.Refresh(); err != nil {
		return err
	}
	for _, path := range wanted {
		target, err := client.GetTargetInfo(path)
		if err != nil {
			return err
		}
		kept, _, err := client.DownloadTarget(target, "", "")
		if err != nil {
			return err
		}
		fmt.Println(kept)
	}
	return nil
}
