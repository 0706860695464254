/* ew.cl for many rows: four columns of one row a work-item, 16 bytes at a time. EW_LOADS, EW_BODY
 * and EW_STORES come from the generator. */
kernel void KERNEL(global float *arena, const int width EW_PARAMS)
{
    int c = (int)get_global_id(0) * 4, row = (int)get_global_id(1);
    if (c >= width)
        return;
    EW_LOADS
    EW_BODY
    EW_STORES
}
