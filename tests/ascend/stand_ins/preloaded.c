/* Functions that stand before those of the same name in the wheel and in the system: loaded with LD_PRELOAD. */
#include <stdlib.h>
#include <unistd.h>

/* How many host cores MindSpore believes to have: SSD_STAND_IN_CORES, else 24. */
static int count(void) {
  const char *text = getenv("SSD_STAND_IN_CORES");
  return text ? atoi(text) : 24;
}

unsigned _ZNSt6thread20hardware_concurrencyEv(void) { return (unsigned)count(); } /* std::thread's own question */
int get_nprocs(void) { return count(); }
int get_nprocs_conf(void) { return count(); }

/* SimuFuncIaclrtProcessReport<int>(int): two of MindSpore's threads wait in it for a card's reports, over and over.
   The wheel's own comes back at once in a dry run, so that both would take a core each from the threads that compile. */
int _ZN9mindspore6device6ascend27SimuFuncIaclrtProcessReportIiEET_i(int milliseconds) {
  (void)milliseconds;
  usleep(10 * 1000);
  return 0;
}
