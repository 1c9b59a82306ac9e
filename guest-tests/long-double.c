/* Long doubles, computed by the x87 and printed with all their digits. */
#include <float.h>
#include <math.h>
#include <stdio.h>

static void show(const char *name, long double value) { printf("%s %.20Lg\n", name, value); }

/* Transcendental functions may differ by one unit in the last place from one CPU to the next. */
static void show_transcendental(const char *name, long double value) { printf("%s %.17Lg\n", name, value); }

int main(void) {
  volatile long double one = 1, three = 3, ten = 10, x = 0.7L;
  show("1/3", one / three);
  show("2/3", 2 * one / three);
  show("10/3", ten / three);
  show("1/10", one / ten);
  show("sqrt(2)", sqrtl(2 * one));
  show("sqrt(10)", sqrtl(ten));
  long double product = 1, sum = 0, power = 1, harmonic = 0;
  for (int i = 1; i <= 40; i++) {
    product *= i;
    harmonic += one / i;
    sum += (i % 2 ? one : -one) / (2 * i - 1);
    power *= x;
  }
  show("40!", product);
  show("harmonic", harmonic);
  show("leibniz", 4 * sum);
  show("0.7^40", power);
  for (int i = 1; i <= 20; i++) {
    volatile long double v = i * 0.37L;
    printf("%d", i);
    show_transcendental(" exp", expl(v));
    show_transcendental("  log", logl(v));
    show_transcendental("  atan", atanl(v));
    show_transcendental("  pow", powl(v, 3.3L));
    show("  floor", floorl(v * 10));
    show("  fmod", fmodl(v * 1000, 7));
  }
  show("smallest normal", LDBL_MIN);
  show("smallest / 3", LDBL_MIN / three);
  show("largest", LDBL_MAX);
  show("largest * 10", LDBL_MAX * ten);
  show("0 / 0", (one - one) / (one - one));
  for (long double v = 1e-4940L, i = 0; i < 12; i++, v *= 1e823L) show("scale", v);
  printf("integers %lld %lld %.0Lf\n", (long long)(ten / three), llrintl(2.5L * one), truncl(-2.7L * one));
  return 0;
}
