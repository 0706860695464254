/* An elementwise program, generated as one expression list (ew.c). Work-item: one column of one
 * row. EW_PARAMS, EW_BODY come from the generator. */
kernel void KERNEL(global float *arena, const int width EW_PARAMS)
{
    int c = (int)get_global_id(0), row = (int)get_global_id(1);
    if (c >= width)
        return;
    EW_BODY
}
