package guest

import (
	"runtime"
	"unsafe"
)

// fillers are never read. They take the place of garbage that was collected before the snapshot.
var fillers []unsafe.Pointer

// Settle prepares the heap for the snapshot: it collects garbage, and fills the holes that garbage left. What a render
// allocates then lies close together on new pages. Otherwise it is scattered over old pages of the snapshot, and the
// first write to each of these makes the kernel copy it.
func Settle() {
	runtime.GC()
	top := fillPages()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	for _, class := range stats.BySize[1:] {
		for fill(class.Size, false) <= top {
		}
		for fill(class.Size, true) <= top {
		}
	}
	// The next collection is due when the heap has grown by a share of what this one finds.
	runtime.GC()
}

// page is a size that takes pages of its own in Go's heap.
const page = 8 << 10

// fillPages fills pages that nothing is on, and returns the address behind which all is new.
func fillPages() uintptr {
	var before, stats runtime.MemStats
	runtime.ReadMemStats(&before)
	top := fill(page, false)
	for {
		runtime.ReadMemStats(&stats)
		if stats.HeapSys > before.HeapSys {
			return top
		}
		top = max(top, fill(page, false))
	}
}

// header is what Go keeps in front of an object with pointers that is larger than headerFrom.
const header, headerFrom = 8, 512

// fill takes a place for an object of a size, with pointers in it or without, and returns its address.
func fill(size uint32, pointers bool) uintptr {
	var place unsafe.Pointer
	if pointers {
		if size > headerFrom {
			size -= header
		}
		place = unsafe.Pointer(unsafe.SliceData(make([]unsafe.Pointer, size/8)))
	} else {
		// Smaller objects without pointers share a place of 16 bytes.
		place = unsafe.Pointer(unsafe.SliceData(make([]byte, max(size, 16))))
	}
	fillers = append(fillers, place)
	return uintptr(place)
}
