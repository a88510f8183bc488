/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which file an address of the current task belongs to. The first time that a
 * file is seen, user space is told its path and its build ID, so it can find
 * the names when the process is long gone.
 */
#ifndef __FILES_BPF_H
#define __FILES_BPF_H

#define MAX_FILES	16384
#define MAX_DEPTH	64	/* of directories and mounts */
#define LOCK_TRIES	8
#define AREAS_PER_FILE	32	/* looked at to find the head of a file */
#define HEAD_SLACK	(256 * 1024)
#define NSEC_PER_SEC	1000000000ULL
#define VM_EXEC		4
#define PT_NOTE		4
#define NT_GNU_BUILD_ID	3

int bpf_iter_task_vma_new(struct bpf_iter_task_vma *it, struct task_struct *task,
			  u64 addr) __ksym;
struct vm_area_struct *bpf_iter_task_vma_next(struct bpf_iter_task_vma *it) __ksym;
void bpf_iter_task_vma_destroy(struct bpf_iter_task_vma *it) __ksym;

struct file_key {
	__u64 ino;
	__u32 dev;
	__u32 generation;
};

/* A mapping of code. */
struct area {
	__u64 start;
	__u64 end;
	__u64 offset;		/* of its start in the file */
	__u32 file;
	__u32 is_new;		/* nobody has seen the file before */
	struct file_key key;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_FILES);
	__type(key, struct file_key);
	__type(value, __u32);
} files SEC(".maps");

const volatile __u32 page_shift = 12;

__u32 nr_files;			/* file numbers given out */
__u64 files_lost;		/* ... but no room for the file, its path or its build ID */

static void get_key(struct file *file, struct file_key *key)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);

	key->ino = BPF_CORE_READ(inode, i_ino);
	key->dev = BPF_CORE_READ(inode, i_sb, s_dev);
	key->generation = BPF_CORE_READ(inode, i_generation);
}

/*
 * Functions here that are not static: the verifier looks at them once, instead of in
 * each state that a caller may be in. None of them sleeps, so it may be anywhere.
 */

/* bpf_d_path() is not for programs like this one. User space puts the names in order. */
__noinline __u32 put_names(struct path_record *record __arg_nonnull, __u64 dentry_addr,
			   __u64 vfsmount_addr)
{
	struct dentry *dentry = (void *)dentry_addr, *up;
	struct mount *mount, *parent;
	__u64 pos = 0;
	__u32 nr = 0;
	long len;
	int i;

	mount = (void *)vfsmount_addr - bpf_core_field_offset(struct mount, mnt);
	bpf_for(i, 0, MAX_DEPTH) {
		if (dentry == BPF_CORE_READ(mount, mnt.mnt_root)) {
			parent = BPF_CORE_READ(mount, mnt_parent);
			if (parent == mount)
				break;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = parent;
			continue;
		}
		up = BPF_CORE_READ(dentry, d_parent);
		if (up == dentry || pos >= PATH_LEN)
			break;
		barrier_var(pos);	/* or else the compiler leaves the mask out */
		len = bpf_probe_read_kernel_str(record->names + (pos & (PATH_LEN - 1)), NAME_LEN,
						BPF_CORE_READ(dentry, d_name.name));
		if (len <= 0)
			break;
		pos += len;
		nr++;
		dentry = up;
	}
	return nr;
}

static __u64 get_mtime(struct inode *inode)
{
	__u64 seconds = BPF_CORE_READ(inode, i_mtime_sec);

	return seconds * NSEC_PER_SEC + BPF_CORE_READ(inode, i_mtime_nsec);
}

static void send_path(struct path_record *record, struct file *file, __u32 nr)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);

	record->type = RECORD_PATH;
	record->file = nr;
	record->pid = bpf_get_current_pid_tgid() >> 32;
	record->size = BPF_CORE_READ(inode, i_size);
	record->mtime = get_mtime(inode);
	record->nr_names = put_names(record, (__u64)BPF_CORE_READ(file, f_path.dentry),
				     (__u64)BPF_CORE_READ(file, f_path.mnt));
	bpf_ringbuf_submit(record, BPF_RB_FORCE_WAKEUP);
}

/* Of those who see a file first at the same time, one gives it its number. */
static void add_file(struct area *area, struct file *file)
{
	struct path_record *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	long err;
	__u32 nr;

	if (!record) {
		__sync_fetch_and_add(&files_lost, 1);
		return;
	}
	nr = __sync_fetch_and_add(&nr_files, 1) + 1;
	err = bpf_map_update_elem(&files, &area->key, &nr, BPF_NOEXIST);
	area->is_new = !err;
	if (!err) {
		send_path(record, file, nr);
		return;
	}
	bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
	if (err != -EEXIST)
		__sync_fetch_and_add(&files_lost, 1);
}

/* Give the file a number if it has none. The iterator keeps the file in place. */
static void number_file(struct area *area, struct file *file)
{
	__u32 *known;

	get_key(file, &area->key);
	known = bpf_map_lookup_elem(&files, &area->key);
	if (!known) {
		add_file(area, file);
		known = bpf_map_lookup_elem(&files, &area->key);
	}
	area->file = known ? *known : 0;
}

/* -ENOENT: nothing is mapped there, as far as it can be seen. */
__noinline int look_up_area(__u64 ip, struct area *area __arg_nonnull)
{
	struct vm_area_struct *vma;
	struct bpf_iter_task_vma it;
	struct file *file;
	int err;

	area->end = 0;
	area->file = 0;
	area->is_new = 0;
	err = bpf_iter_task_vma_new(&it, bpf_get_current_task_btf(), ip);
	vma = err ? NULL : bpf_iter_task_vma_next(&it);
	if (!err && (!vma || vma->vm_start > ip))
		err = -ENOENT;
	if (!err && (vma->vm_flags & VM_EXEC)) {
		area->start = vma->vm_start;
		area->end = vma->vm_end;
		area->offset = (__u64)vma->vm_pgoff << page_shift;
		file = vma->vm_file;
		if (file)
			number_file(area, file);
	}
	bpf_iter_task_vma_destroy(&it);
	return err;
}

/*
 * A page fault outside of every mapping waits until the one who changes the
 * memory map is done with it.
 */
static void wait_for_mm(void)
{
	char byte;

	bpf_copy_from_user(&byte, sizeof(byte), NULL);
}

/*
 * An iterator does not wait for a lock. Kernels that take that of the memory map for
 * it say -EBUSY. Others, 6.12.y among them, pass over an area that is locked, as all are
 * while the process forks: as if nothing were there. So look once more if nothing is.
 */
static int find_area(__u64 ip, struct area *area)
{
	int i, err = -EBUSY;

	bpf_for(i, 0, LOCK_TRIES) {
		err = look_up_area(ip, area);
		if (err != -EBUSY && (err != -ENOENT || i))
			break;
		wait_for_mm();
	}
	return err;
}

/*
 * Where the head of the area's file is mapped: in front of the code, but how
 * far is the linker's choice.
 */
__noinline __u64 find_head(const struct area *area __arg_nonnull)
{
	__u64 from = area->start - area->offset, head = 0;
	struct vm_area_struct *vma;
	struct bpf_iter_task_vma it;
	struct file_key key;
	struct file *file;
	int i;

	from = from > HEAD_SLACK ? from - HEAD_SLACK : 0;
	bpf_iter_task_vma_new(&it, bpf_get_current_task_btf(), from);
	bpf_for(i, 0, AREAS_PER_FILE) {
		vma = bpf_iter_task_vma_next(&it);
		if (!vma || vma->vm_start > area->start)
			break;
		file = vma->vm_file;
		if (!file || vma->vm_pgoff)
			continue;
		get_key(file, &key);
		if (key.ino == area->key.ino && key.dev == area->key.dev)
			head = vma->vm_start;
	}
	bpf_iter_task_vma_destroy(&it);
	return head;
}

struct build_id_note {
	struct elf64_note head;
	char name[4];
	__u8 id[BUILD_ID_LEN];
};

static bool is_build_id(const struct build_id_note *note)
{
	return note->head.n_type == NT_GNU_BUILD_ID && note->head.n_namesz == 4 &&
	       note->name[0] == 'G' && note->name[1] == 'N' && note->name[2] == 'U' &&
	       note->head.n_descsz <= BUILD_ID_LEN;
}

static bool search_notes(__u64 at, __u64 len, __u64 align, struct build_id_record *record)
{
	struct build_id_note note;
	__u64 end = at + len;
	int i;

	align = align > 4 ? 7 : 3;
	bpf_for(i, 0, 16) {
		if (at >= end || bpf_copy_from_user(&note, sizeof(note), (void *)at))
			break;
		if (is_build_id(&note)) {
			record->len = note.head.n_descsz;
			__builtin_memcpy(record->build_id, note.id, BUILD_ID_LEN);
			return true;
		}
		at += sizeof(note.head) + ((note.head.n_namesz + 3) & ~3ULL);
		at += ((__u64)note.head.n_descsz + align) & ~align;
	}
	return false;
}

/* All of this may fault: the head of a file is seldom touched after its start. */
static void read_build_id(__u64 head, struct build_id_record *record)
{
	struct elf64_phdr phdr;
	struct elf64_hdr elf;
	__u64 at;
	int i;

	if (bpf_copy_from_user(&elf, sizeof(elf), (void *)head) ||
	    elf.e_ident[0] != 0x7f || elf.e_ident[1] != 'E' || elf.e_ident[2] != 'L' ||
	    elf.e_ident[3] != 'F' || elf.e_ident[4] != 2)
		return;
	at = head + elf.e_phoff;
	bpf_for(i, 0, 64) {
		if (i >= elf.e_phnum || bpf_copy_from_user(&phdr, sizeof(phdr), (void *)at))
			break;
		if (phdr.p_type == PT_NOTE &&
		    search_notes(head + phdr.p_offset, phdr.p_filesz, phdr.p_align, record))
			break;
		at += sizeof(phdr);
	}
}

static void send_build_id(const struct area *area)
{
	struct build_id_record record = {
		.type = RECORD_BUILD_ID,
		.file = area->file,
	};
	__u64 head = find_head(area);

	/* Perhaps locked: see find_area(). */
	if (!head) {
		wait_for_mm();
		head = find_head(area);
	}
	if (head)
		read_build_id(head, &record);
	if (bpf_ringbuf_output(&ring, &record, sizeof(record), BPF_RB_FORCE_WAKEUP))
		__sync_fetch_and_add(&files_lost, 1);
}

#endif /* __FILES_BPF_H */
