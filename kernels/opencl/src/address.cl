/* The addresses of buffers as numbers (../persistent.h). */
kernel void KERNEL(global uchar *p, global ulong *out, const int i)
{
    if (get_global_id(0) == 0)
        out[i] = (ulong)p;
}
