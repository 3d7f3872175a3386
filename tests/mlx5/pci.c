// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The PCI function: its registers, doorbells, properties, and what is done when it comes and goes.
 */
#include "mlx5.h"
#include "hw/pci/msix.h"
#include "hw/pci/pcie.h"
#include "hw/qdev-properties.h"
#include "migration/vmstate.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"

#define FW_MAJOR 16
#define FW_MINOR 35
#define FW_SUB 1000
#define CMDIF_REV 5
#define HEALTH_FATAL 0x1 /* of its syndromes: a firmware assertion */
#define HEALTH_RESET_ME (1u << 31)
#define NIC_DISABLED 1
#define NIC_SW_RESET 7

enum {
	SEG_FW_REV = 0x0,
	SEG_CMDIF_REV = 0x4,
	SEG_CMDQ_H = 0x10,
	SEG_CMDQ_L = 0x14,
	SEG_CMD_DOORBELL = 0x18,
	SEG_INITIALIZING = 0x1fc,
	SEG_HEALTH = 0x200,
	SEG_HEALTH_FW_VER = SEG_HEALTH + 0x30,
	SEG_HEALTH_HW_ID = SEG_HEALTH + 0x34,
	SEG_HEALTH_SEVERITY = SEG_HEALTH + 0x38,
	SEG_HEALTH_SYNDROME = SEG_HEALTH + 0x3c,
	SEG_TIMER_H = 0x1000,
	SEG_TIMER_L = 0x1004,
	SEG_HEALTH_COUNTER = 0x1010,
};

enum {
	UAR_CQ = 0x20,
	UAR_EQ_ARM = 0x40,
	UAR_EQ = 0x48,
	UAR_SQ = 0x800,
};

void mlog(struct mdev *d, const char *fmt, ...)
{
	va_list ap;

	if (!d->log)
		return;
	fprintf(d->log, "%12.6f ", qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) / 1e9);
	va_start(ap, fmt);
	vfprintf(d->log, fmt, ap);
	va_end(ap);
	putc('\n', d->log);
}

/* Another program reads the trace while it grows: each line is written in one go. */
void trace_write(struct mdev *d, GString *line)
{
	g_string_append_c(line, '\n');
	if (write(d->trace, line->str, line->len) != (ssize_t)line->len)
		mlog(d, "trace: a line could not be written: %s", strerror(errno));
	g_string_free(line, true);
}

void trace_hex(GString *line, const void *p, uint32_t len)
{
	const uint8_t *b = p;

	while (len--)
		g_string_append_printf(line, "%02x", *b++);
}

static char *trace_get(Object *o, Error **errp)
{
	return g_strdup(MDEV(o)->trace_name ? MDEV(o)->trace_name : "");
}

static void trace_set(Object *o, const char *name, Error **errp)
{
	struct mdev *d = MDEV(o);
	int fd = -1;

	if (*name) {
		fd = open(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0) {
			error_setg_errno(errp, errno, "mlx5-model: trace %s cannot be written",
					 name);
			return;
		}
	}
	if (d->trace >= 0)
		close(d->trace);
	d->trace = fd;
	g_free(d->trace_name);
	d->trace_name = g_strdup(name);
}

void dma_get(struct mdev *d, uint64_t addr, void *p, uint64_t len)
{
	if (pci_dma_read(&d->parent_obj, addr, p, len) != MEMTX_OK) {
		mlog(d, "DMA: nothing can be read at 0x%" PRIx64, addr);
		memset(p, 0xff, len);
	}
}

void dma_put(struct mdev *d, uint64_t addr, const void *p, uint64_t len)
{
	if (pci_dma_write(&d->parent_obj, addr, p, len) != MEMTX_OK)
		mlog(d, "DMA: nothing can be written at 0x%" PRIx64, addr);
}

uint32_t dma_get_be32(struct mdev *d, uint64_t addr)
{
	uint8_t b[4];

	dma_get(d, addr, b, sizeof(b));
	return ldl_be_p(b);
}

static uint64_t segment_read(struct mdev *d, hwaddr a)
{
	uint64_t ns = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);

	switch (a) {
	case SEG_INITIALIZING:
		return 1 << 30; /* done, and it can be reset by the driver */
	case SEG_FW_REV:
		return FW_MINOR << 16 | FW_MAJOR;
	case SEG_CMDIF_REV:
		return CMDIF_REV << 16 | FW_SUB;
	case SEG_CMDQ_H:
		return d->cmdq_h;
	case SEG_CMDQ_L:
		return d->cmdq_l | d->nic_interface << 8 | CMD_LOG_SIZE << 4 | CMD_LOG_STRIDE;
	case SEG_HEALTH_FW_VER:
		return FW_MAJOR << 24 | FW_MINOR << 16 | FW_SUB;
	case SEG_HEALTH_HW_ID:
		return 0x20d;
	case SEG_HEALTH_SEVERITY:
		return d->faults.fatal ? HEALTH_RESET_ME : 0;
	case SEG_HEALTH_SYNDROME:
		return d->faults.fatal ? HEALTH_FATAL << 16 : 0;
	case SEG_TIMER_H:
		return ns >> 32;
	case SEG_TIMER_L:
		return (uint32_t)ns;
	case SEG_HEALTH_COUNTER:
		if (!d->faults.fatal)
			d->health_counter++;
		return d->health_counter & 0xffffff;
	}
	return 0;
}

static uint64_t bar_read(void *opaque, hwaddr a, unsigned int size)
{
	struct mdev *d = opaque;
	uint64_t v = d->faults.absent ? UINT32_MAX : a < 0x2000 ? segment_read(d, a & ~3ull) : 0;

	/* The health buffer has fields of a byte. */
	return v >> 8 * (4 - (a & 3) - size) & MAKE_64BIT_MASK(0, 8 * size);
}

static void uar_write(struct mdev *d, uint32_t page, uint32_t off, uint32_t v)
{
	if (!uar_valid(d, page)) {
		mlog(d, "doorbell 0x%x in page 0x%x, which is no UAR that was allocated", off,
		     page);
		return;
	}
	if (off >= UAR_SQ) {
		/* The first 64 bits of a work request, also where all of it is written. */
		if ((off & 0xff) == 4)
			sq_doorbell(d, page, v >> 8);
		return;
	}
	switch (off) {
	case UAR_CQ:
		d->uar_high[page - UAR_BASE_PAGE] = v;
		break;
	case UAR_CQ + 4:
		cq_doorbell(d, page, d->uar_high[page - UAR_BASE_PAGE], v & 0xffffff);
		break;
	case UAR_EQ_ARM:
	case UAR_EQ:
		eq_doorbell(d, page, v, off == UAR_EQ_ARM);
		break;
	default:
		mlog(d, "doorbell 0x%x in page 0x%x is none that is known", off, page);
	}
}

static void bar_write(void *opaque, hwaddr a, uint64_t v, unsigned int size)
{
	struct mdev *d = opaque;

	if (d->faults.absent)
		return;
	/* Of a firmware that has failed only the reset works. */
	if (d->faults.fatal && a != SEG_CMDQ_L)
		return;
	if (size != 4) {
		mlog(d, "%u bytes written at 0x%" PRIx64, size, (uint64_t)a);
		return;
	}
	if (a >= (hwaddr)UAR_BASE_PAGE * MLX5_PAGE) {
		uar_write(d, a / MLX5_PAGE, a % MLX5_PAGE, v);
		return;
	}
	switch (a) {
	case SEG_CMDQ_H:
		d->cmdq_h = v;
		break;
	case SEG_CMDQ_L:
		d->cmdq_l = v & ~(MLX5_PAGE - 1);
		d->nic_interface = (v >> 8) & 7;
		if (d->nic_interface == NIC_SW_RESET) {
			mlog(d, "reset by the driver");
			device_reset_all(d);
			d->faults.fatal = false;
			d->nic_interface = NIC_DISABLED;
		}
		break;
	case SEG_CMD_DOORBELL:
		cmd_doorbell(d, v);
		break;
	default:
		mlog(d, "register 0x%" PRIx64 " is read only, or none", (uint64_t)a);
	}
}

static const MemoryRegionOps bar_ops = {
	.read = bar_read,
	.write = bar_write,
	.endianness = DEVICE_BIG_ENDIAN,
	.valid = { .min_access_size = 1, .max_access_size = 8 },
	.impl = { .min_access_size = 1, .max_access_size = 4 },
};

void device_reset_all(struct mdev *d)
{
	objects_reset(d);
	d->npages = 0;
	d->hca_enabled = false;
	d->hca_ready = false;
	d->issi = 0;
	memcpy(d->caps_cur, d->caps_max, sizeof(d->caps_cur));
	memcpy(d->atomic_cur, d->atomic_max, sizeof(d->atomic_cur));
}

static void model_reset(DeviceState *dev)
{
	struct mdev *d = MDEV(dev);

	device_reset_all(d);
	d->cmdq_h = 0;
	d->cmdq_l = 0;
	d->nic_interface = 0;
	d->faults.fatal = false;
}

static uint32_t model_config_read(PCIDevice *pci, uint32_t addr, int len)
{
	return MDEV(pci)->faults.absent ? UINT32_MAX >> (32 - 8 * len) :
					  pci_default_read_config(pci, addr, len);
}

static void model_config_write(PCIDevice *pci, uint32_t addr, uint32_t v, int len)
{
	if (MDEV(pci)->faults.absent)
		return;
	pci_default_write_config(pci, addr, v, len);
	pcie_cap_flr_write_config(pci, addr, v, len);
}

static void model_realize(PCIDevice *pci, Error **errp)
{
	struct mdev *d = MDEV(pci);
	int i;

	if (!d->lid || d->lid >= 0xc000) {
		error_setg(
			errp,
			"mlx5-model: lid=N is needed, from 1 to 49151, another for each device");
		return;
	}
	if (!d->guid)
		d->guid = 0x0200000000000000ull + d->lid;
	if (d->log_name) {
		d->log = fopen(d->log_name, "we");
		if (!d->log) {
			error_setg_errno(errp, errno, "mlx5-model: log %s cannot be written",
					 d->log_name);
			return;
		}
		setvbuf(d->log, NULL, _IOLBF, 0);
	}
	QTAILQ_INIT(&d->peers);
	QTAILQ_INIT(&d->loop);
	QTAILQ_INIT(&d->slow);
	d->slow_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, wire_slow_timer, d);
	d->error_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, errors_poll, d);
	d->work_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, transport_work, d);
	/* Greater than those of a run before, which targets on other machines may still know. */
	d->next_conn = g_get_real_time() / 1000;
	if (!wire_open(d, errp))
		return;
	caps_init(d);
	device_reset_all(d);
	memory_region_init_io(&d->bar, OBJECT(d), &bar_ops, d, "mlx5-model", BAR_SIZE);
	pci_register_bar(pci, 0,
			 PCI_BASE_ADDRESS_SPACE_MEMORY | PCI_BASE_ADDRESS_MEM_TYPE_64 |
				 PCI_BASE_ADDRESS_MEM_PREFETCH,
			 &d->bar);
	if (pcie_endpoint_cap_init(pci, 0x80) < 0) {
		error_setg(errp, "mlx5-model: it needs a PCI Express slot: use -machine q35");
		return;
	}
	pcie_cap_flr_init(pci);
	if (msix_init_exclusive_bar(pci, NUM_VECTORS, 4, errp))
		return;
	for (i = 0; i < NUM_VECTORS; i++)
		msix_vector_use(pci, i);
}

static void model_exit(PCIDevice *pci)
{
	struct mdev *d = MDEV(pci);

	objects_clear(d);
	wire_close(d);
	timer_free(d->slow_timer);
	timer_free(d->error_timer);
	timer_free(d->work_timer);
	msix_uninit_exclusive_bar(pci);
	pcie_cap_exit(pci);
	g_free(d->pages);
	if (d->trace >= 0)
		close(d->trace);
	g_free(d->trace_name);
	if (d->log)
		fclose(d->log);
}

static void model_init(Object *o)
{
	MDEV(o)->trace = -1;
}

static Property model_properties[] = {
	DEFINE_PROP_UINT16("lid", struct mdev, lid, 0),
	DEFINE_PROP_UINT64("guid", struct mdev, guid, 0),
	DEFINE_PROP_STRING("wire", struct mdev, wire),
	DEFINE_PROP_STRING("log", struct mdev, log_name),
	DEFINE_PROP_BOOL("loopback-wire", struct mdev, loopback_wire, false),
	DEFINE_PROP_UINT32("ack-timeout-min-ms", struct mdev, ack_timeout_min_ms, 500),
	DEFINE_PROP_END_OF_LIST()
};

static const VMStateDescription model_vmstate = {
	.name = TYPE_MLX5_MODEL,
	.unmigratable = 1,
};

static void model_class_init(ObjectClass *c, void *data)
{
	PCIDeviceClass *k = PCI_DEVICE_CLASS(c);
	DeviceClass *dev = DEVICE_CLASS(c);

	k->realize = model_realize;
	k->exit = model_exit;
	k->config_read = model_config_read;
	k->config_write = model_config_write;
	k->vendor_id = 0x15b3;
	k->device_id = 0x1017; /* ConnectX-5 */
	k->subsystem_vendor_id = 0x15b3;
	k->subsystem_id = 1;
	k->class_id = 0x0207; /* InfiniBand controller */
	dev->reset = model_reset;
	dev->desc = "model of an mlx5 InfiniBand adapter, for tests";
	dev->vmsd = &model_vmstate;
	device_class_set_props(dev, model_properties);
	object_class_property_add_str(c, "trace", trace_get, trace_set);
	faults_class_init(c);
}

static const InterfaceInfo model_interfaces[] = { { INTERFACE_PCIE_DEVICE }, {} };

static const TypeInfo model_type = {
	.name = TYPE_MLX5_MODEL,
	.parent = TYPE_PCI_DEVICE,
	.instance_size = sizeof(struct mdev),
	.instance_init = model_init,
	.class_init = model_class_init,
	.interfaces = (InterfaceInfo *)model_interfaces,
};

static void model_register(void)
{
	type_register_static(&model_type);
}

type_init(model_register)
