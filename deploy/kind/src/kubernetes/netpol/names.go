package main

import (
	"os"
	"path/filepath"

	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// namedPods lets the engine find a Pod of this node by the address that the CNI plugin pod-name wrote down. The engine
// itself goes by the Pods' statuses: a new Pod's first second would be without policy, and an address that was another
// Pod's before would be judged by that one's.
type namedPods struct {
	coreinformers.PodInformer
	directory string
}

func (pods namedPods) Informer() cache.SharedIndexInformer {
	return namedInformer{pods.PodInformer.Informer(), pods.directory}
}

type namedInformer struct {
	cache.SharedIndexInformer
	directory string
}

func (informer namedInformer) GetIndexer() cache.Indexer {
	return namedIndexer{informer.SharedIndexInformer.GetIndexer(), informer.directory}
}

type namedIndexer struct {
	cache.Indexer
	directory string
}

// ByIndex is only asked for Pods by their address.
func (indexer namedIndexer) ByIndex(index, address string) ([]any, error) {
	if key, err := os.ReadFile(filepath.Join(indexer.directory, address)); err == nil {
		if pod, known, err := indexer.GetByKey(string(key)); known && err == nil {
			return []any{pod}, nil
		}
	}
	return indexer.Indexer.ByIndex(index, address)
}
