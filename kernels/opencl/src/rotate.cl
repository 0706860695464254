/* Angles that add up along a sequence, and the rotation by them. Work-item: one angle of one head
 * of one sequence. The sum is kept within a turn. */
#define TURN 6.283185307179586f
kernel void KERNEL(global float *arena, VIEW(out), VIEW(more), global float *slots,
                   const ulong slot_floats, const ulong section, global const int *cu,
                   global const int *slot, const int width)
{
    int id = (int)get_global_id(0), seq = (int)get_global_id(1), head = id / ANGLES,
        i = id % ANGLES;
    if (id >= width)
        return;
    global float *state = slots + (ulong)slot[seq] * slot_floats + section + (ulong)id;
    float theta = *state;
    for (int t = cu[seq]; t < cu[seq + 1]; t++) {
        theta = fmod(theta + ROW(more, t)[id], TURN);
        theta = theta < 0.0f ? theta + TURN : theta;
        float cs = cos(theta), sn = sin(theta);
        for (int part = 0; part < PARTS; part++) {
            global float *x = ROW(out, t) + (part * HEADS + head) * HEAD + 2 * i;
            float e = x[0], o = x[1];
            x[0] = e * cs - o * sn;
            x[1] = e * sn + o * cs;
        }
    }
    *state = theta;
}
