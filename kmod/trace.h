/* SPDX-License-Identifier: GPL-2.0 OR MIT */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM mitosis

#if !defined(MITOSIS_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define MITOSIS_TRACE_H

#include <linux/tracepoint.h>

/* source: @pages pages of address space @mm are held in @regions regions */
TRACE_EVENT(mitosis_hold,
	TP_PROTO(u64 snapshot, u64 pages, u64 regions),
	TP_ARGS(snapshot, pages, regions),
	TP_STRUCT__entry(__field(u64, snapshot) __field(u64, pages) __field(u64, regions)),
	TP_fast_assign(__entry->snapshot = snapshot; __entry->pages = pages;
		       __entry->regions = regions;),
	TP_printk("snapshot=%016llx pages=%llu regions=%llu", __entry->snapshot, __entry->pages,
		  __entry->regions)
);

/* source: nobody can read any more */
TRACE_EVENT(mitosis_release,
	TP_PROTO(u64 snapshot, int error),
	TP_ARGS(snapshot, error),
	TP_STRUCT__entry(__field(u64, snapshot) __field(int, error)),
	TP_fast_assign(__entry->snapshot = snapshot; __entry->error = error;),
	TP_printk("snapshot=%016llx error=%d", __entry->snapshot, __entry->error)
);

/* destination: @pages pages are missing at first */
TRACE_EVENT(mitosis_attach,
	TP_PROTO(u64 snapshot, u32 mm, u64 pages),
	TP_ARGS(snapshot, mm, pages),
	TP_STRUCT__entry(__field(u64, snapshot) __field(u32, mm) __field(u64, pages)),
	TP_fast_assign(__entry->snapshot = snapshot; __entry->mm = mm; __entry->pages = pages;),
	TP_printk("snapshot=%016llx mm=%u pages=%llu", __entry->snapshot, __entry->mm,
		  __entry->pages)
);

/* destination: a fault that waited @ns for the page of original address @address */
TRACE_EVENT(mitosis_fault,
	TP_PROTO(u64 snapshot, u32 mm, u64 address, u64 ns, int error),
	TP_ARGS(snapshot, mm, address, ns, error),
	TP_STRUCT__entry(__field(u64, snapshot) __field(u32, mm) __field(u64, address)
			 __field(u64, ns) __field(int, error)),
	TP_fast_assign(__entry->snapshot = snapshot; __entry->mm = mm;
		       __entry->address = address; __entry->ns = ns; __entry->error = error;),
	TP_printk("snapshot=%016llx mm=%u address=%llx ns=%llu error=%d", __entry->snapshot,
		  __entry->mm, __entry->address, __entry->ns, __entry->error)
);

/* destination: an address space has all its pages */
TRACE_EVENT(mitosis_drain,
	TP_PROTO(u64 snapshot, u32 mm, u64 pages),
	TP_ARGS(snapshot, mm, pages),
	TP_STRUCT__entry(__field(u64, snapshot) __field(u32, mm) __field(u64, pages)),
	TP_fast_assign(__entry->snapshot = snapshot; __entry->mm = mm; __entry->pages = pages;),
	TP_printk("snapshot=%016llx mm=%u pages=%llu", __entry->snapshot, __entry->mm,
		  __entry->pages)
);

/* destination: a link went to @state (enum mitosis_link_state) */
TRACE_EVENT(mitosis_link,
	TP_PROTO(u64 snapshot, u32 state, int error),
	TP_ARGS(snapshot, state, error),
	TP_STRUCT__entry(__field(u64, snapshot) __field(u32, state) __field(int, error)),
	TP_fast_assign(__entry->snapshot = snapshot; __entry->state = state;
		       __entry->error = error;),
	TP_printk("snapshot=%016llx state=%u error=%d", __entry->snapshot, __entry->state,
		  __entry->error)
);

#endif

#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
