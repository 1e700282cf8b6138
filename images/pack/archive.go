package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// plain rewrites an image's archive without what is each build's own: buildah
// gives every container a number and a name, and the image remembers them. (Its
// other form of images forgets them, and the health check with them.)
func plain(from, to string) error {
	members, order, err := readTar(from)
	if err != nil {
		return err
	}
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(members["manifest.json"], &manifest); err != nil || len(manifest) != 1 {
		return fmt.Errorf("%s is no archive of one image: %d in %v, %w", from, len(manifest), order, err)
	}
	var config map[string]any
	if err := json.Unmarshal(members[manifest[0].Config], &config); err != nil {
		return fmt.Errorf("read the image's configuration: %w", err)
	}
	delete(config, "container")
	delete(config, "container_config")
	if inner, ok := config["config"].(map[string]any); ok {
		delete(inner, "Hostname")
	}
	text, err := json.Marshal(config) // in the order of the keys
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	manifest[0].Config = hex.EncodeToString(sum[:]) + ".json"
	list, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, content []byte) error {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o444, Size: int64(len(content)), Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		_, err := w.Write(content)
		return err
	}
	layers := slices.Compact(slices.Clone(manifest[0].Layers))
	for _, layer := range layers {
		if members[layer] == nil {
			return fmt.Errorf("%s lacks its layer %s", from, layer)
		}
		err = errors.Join(err, add(layer, members[layer]))
	}
	err = errors.Join(err, add(manifest[0].Config, text), add("manifest.json", list), w.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", to, err)
	}
	return os.WriteFile(to, b.Bytes(), 0o644)
}

// readTar reads the files of an archive that this program has had made.
func readTar(file string) (members map[string][]byte, order []string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	members = map[string][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return members, order, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", file, err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if members[h.Name], err = io.ReadAll(r); err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", file, err)
		}
		order = append(order, h.Name)
	}
}
