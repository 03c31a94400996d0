package publish

import (
	"context"
	"encoding/binary"
)

// The qcow2 format, version 3 (QEMU, docs/interop/qcow2.rst); all numbers are
// big-endian. Written here and not by qemu-img(1), the file is hashed while it
// is written, depends on the contents of the image alone, and QEMU need not be
// in the tools root.
const (
	qcowBits     = 16            // a cluster is 64 KiB, as qemu-img makes it
	qcowCluster  = 1 << qcowBits // bytes
	qcowPerL2    = qcowCluster / 8
	qcowPerBlock = qcowCluster / 2 // reference counts of 16 bits in a block
	qcowCopied   = 1 << 63         // in a table's entry: the cluster is used once
	qcowHeader   = 104             // bytes
)

// qcowPlan says where everything lies, in clusters.
type qcowPlan struct {
	size   int64
	used   []bool // clusters of the image that are not all zeroes
	l2used []bool // level 2 tables with at least one of them

	refTable, refBlocks, l1, l2s, data int64 // how many clusters each part takes
}

// qcow2 writes the raw image at from as qcow2 to out. Clusters of zeroes take no
// room.
func qcow2(ctx context.Context, from, out string) (Artifact, error) {
	in, err := openSparse(from)
	if err != nil {
		return Artifact{}, err
	}
	defer in.close()
	p, err := planQcow(ctx, in)
	if err != nil {
		return Artifact{}, err
	}
	w, err := create(out)
	if err != nil {
		return Artifact{}, err
	}
	return w.written(p.write(ctx, in, w))
}

// planQcow finds the clusters that hold something and counts.
func planQcow(ctx context.Context, in *sparse) (*qcowPlan, error) {
	p := &qcowPlan{size: in.size, used: make([]bool, clusters(in.size, qcowCluster))}
	p.l2used = make([]bool, clusters(int64(len(p.used)), qcowPerL2))
	if err := p.find(ctx, in); err != nil {
		return nil, err
	}
	for _, used := range p.l2used {
		if used {
			p.l2s++
		}
	}
	p.l1 = clusters(8*int64(len(p.l2used)), qcowCluster)
	// The blocks of reference counts count themselves too.
	for {
		blocks := clusters(p.total(), qcowPerBlock)
		table := clusters(8*blocks, qcowCluster)
		if blocks == p.refBlocks && table == p.refTable {
			return p, nil
		}
		p.refBlocks, p.refTable = blocks, table
	}
}

// find fills in which clusters are used.
func (p *qcowPlan) find(ctx context.Context, in *sparse) error {
	buf := make([]byte, qcowCluster)
	for start := int64(0); start < in.size; start += chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		end := min(start+chunk, in.size)
		if in.hole(start, end-start) {
			continue
		}
		for off := start; off < end; off += qcowCluster {
			zero, err := in.zero(off, min(qcowCluster, end-off), buf)
			if err != nil {
				return err
			}
			if i := off / qcowCluster; !zero {
				p.used[i], p.l2used[i/qcowPerL2] = true, true
				p.data++
			}
		}
	}
	return nil
}

func clusters(n, each int64) int64 { return (n + each - 1) / each }

func (p *qcowPlan) total() int64 { return 1 + p.refTable + p.refBlocks + p.l1 + p.l2s + p.data }

// write writes header, reference counts, tables and data, in this order.
func (p *qcowPlan) write(ctx context.Context, in *sparse, w *output) error {
	be := binary.BigEndian
	refTable := int64(1)
	l1 := refTable + p.refTable + p.refBlocks
	head := make([]byte, qcowCluster) // ends with an empty header extension
	copy(head, "QFI\xfb")
	be.PutUint32(head[4:], 3)
	be.PutUint32(head[20:], qcowBits)
	be.PutUint64(head[24:], uint64(p.size))
	be.PutUint32(head[36:], uint32(len(p.l2used)))
	be.PutUint64(head[40:], uint64(l1*qcowCluster))
	be.PutUint64(head[48:], uint64(refTable*qcowCluster))
	be.PutUint32(head[56:], uint32(p.refTable))
	be.PutUint32(head[96:], 4) // reference counts of 1<<4 bits
	be.PutUint32(head[100:], qcowHeader)

	blocks := make([]uint64, p.refBlocks)
	for i := range blocks {
		blocks[i] = uint64((refTable + p.refTable + int64(i)) * qcowCluster)
	}
	counts := make([]byte, p.refBlocks*qcowCluster)
	for i := range p.total() {
		be.PutUint16(counts[2*i:], 1)
	}
	for _, part := range [][]byte{head, words(blocks, p.refTable), counts} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	if err := p.writeTables(w, l1+p.l1, l1+p.l1+p.l2s); err != nil {
		return err
	}
	return p.writeData(ctx, in, w)
}

// words lays numbers out over n clusters.
func words(values []uint64, n int64) []byte {
	out := make([]byte, n*qcowCluster)
	for i, v := range values {
		binary.BigEndian.PutUint64(out[8*i:], v)
	}
	return out
}

// writeTables writes the level 1 table and the level 2 tables, which begin at
// cluster l2; data begin at cluster data.
func (p *qcowPlan) writeTables(w *output, l2, data int64) error {
	first := make([]uint64, len(p.l2used))
	for i, used := range p.l2used {
		if used {
			first[i] = uint64(l2*qcowCluster) | qcowCopied
			l2++
		}
	}
	if _, err := w.Write(words(first, p.l1)); err != nil {
		return err
	}
	for i, used := range p.l2used {
		if !used {
			continue
		}
		second := make([]uint64, qcowPerL2)
		for k := range second {
			if c := i*qcowPerL2 + k; c < len(p.used) && p.used[c] {
				second[k] = uint64(data*qcowCluster) | qcowCopied
				data++
			}
		}
		if _, err := w.Write(words(second, 1)); err != nil {
			return err
		}
	}
	return nil
}

// writeData writes the used clusters, as many in one write as follow each other.
func (p *qcowPlan) writeData(ctx context.Context, in *sparse, w *output) error {
	buf := make([]byte, chunk)
	for i := 0; i < len(p.used); {
		if !p.used[i] {
			i++
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		end := i
		for end < len(p.used) && p.used[end] && end-i < chunk/qcowCluster {
			end++
		}
		off, n := int64(i)*qcowCluster, int64(end-i)*qcowCluster
		have := min(n, in.size-off)
		clear(buf[have:n]) // the image may end within its last cluster
		data, _, err := in.read(off, have, buf)
		if err != nil {
			return err
		}
		if have < n {
			data = buf[:n]
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
		i = end
	}
	return nil
}
