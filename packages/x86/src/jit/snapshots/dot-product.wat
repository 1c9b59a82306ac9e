; The program:
;   00  movupd xmm0, [rsi]
;   04  movupd xmm1, [rdi]
;   08  mulpd xmm0, xmm1
;   0c  addpd xmm2, xmm0
;   10  add rsi, 16
;   14  add rdi, 16
;   18  dec ecx
;   1a  jnz -28
;   1c  cvttsd2si rax, xmm2
;   21  hlt
; The last region made of it: small, from 00.
(func (param i32 i32) (result i32)
  (local f64*1 i32*10 i64*13 v128*9)
  (if (i32.load SSE_BLOCKED)
    (return_call_indirect (i32 uop+0x0) $1 $handler)
  )
  (if (i64.gt_u (i64.add (local.tee $22 (i64.load ripBase)) (i64 0x7ffe00000000)) (i64 0xfffc00000000))
    (return_call_indirect (i32 uop+0x0) $1 $handler)
  )
  (local.set $3 $22)
  (local.set $10 (i32.load TLB_BASE))
  (local.set $20 (i64.load rax))
  (local.set $15 (i64.load rcx))
  (local.set $8 (i64.load rsi))
  (local.set $12 (i64.load rdi))
  (local.set $11 (v128.load xmm0))
  (local.set $14 (v128.load xmm1))
  (local.set $6 (v128.load xmm2))
  (local.set $16 (i32.load FLAG_KIND))
  (local.set $17 (i64.load FLAG_A))
  (local.set $18 (i64.load FLAG_B))
  (local.set $19 (i64.load FLAG_RESULT))
  (local.set $21 (i32.add (i32.load16_u REGION_ENTRIES) (i32 1)))
  (i32.store16 REGION_ENTRIES $21)
  (if (i32.eq (i32.and $21 (i32 0xffff)) (i32 100))
    (local.set $22 $3)
    (i64.store RIP $22)
    (i32.store BUDGET $1)
    (return (i32 5))
  )
  (block @1
    (block @2
      (block @3
        (local.set $2 $1)
        (if (i32.eqz (i32.eq (i32.and (i32.load MXCSR) (i32 0xffe0)) (i32 0x1fa0)))
          (local.set $22 $3)
          (i64.store RIP $22)
          (local.set $5 (i32 4))
          (br @1)
        )
        (if
          (i32.eqz
            (i32.and
              (i32.add
                (i32.wrap_i64
                  (i64.shr_u (i64.reinterpret_f64 (local.tee $24 (f64x2.extract_lane 0 $6))) (i64 32)))
                (i32 0x100000))
              (i32 0x7fe00000)))
          (if (i32.eqz (f64.eq $24 (f64.add $24 $24)))
            (local.set $22 $3)
            (i64.store RIP $22)
            (local.set $5 (i32 4))
            (br @1)
          )
        )
        (local.set $7 (i32 0))
        (loop @4
          (local.set $22 $8)
          (if
            (i64.eq
              (local.tee $25
                (i64.load
                  (local.tee $21 (i32.add $10 (i32.and (i32.shr_u (i32.wrap_i64 $22) (i32 7)) (i32 0x7fe0))))))
              (i64.and (i64.add $22 (i64 15)) (i64 -0x1000)))
            (local.set $21 (i32.load +0x10 $21))
            (local.set $9 (v128.load $ram (i32.add (i32.wrap_i64 $22) $21)))
          else
            (i64.store MISSED_TAG $25)
            (local.set $9 (call $slowLoad128 $22 (i32 place+0x20000)))
            (i32.store FAULT_NOTE (i32 0))
            (br_if @3 (i32.load FAULT))
          )
          (local.set $11 (local.tee $23 $9))
          (local.set $25 $12)
          (if
            (i64.eq
              (local.tee $26
                (i64.load
                  (local.tee $21 (i32.add $10 (i32.and (i32.shr_u (i32.wrap_i64 $25) (i32 7)) (i32 0x7fe0))))))
              (i64.and (i64.add $25 (i64 15)) (i64 -0x1000)))
            (local.set $21 (i32.load +0x10 $21))
            (local.set $13 (v128.load $ram (i32.add (i32.wrap_i64 $25) $21)))
          else
            (i64.store MISSED_TAG $26)
            (local.set $13 (call $slowLoad128 $25 (i32 place+0x20020)))
            (i32.store FAULT_NOTE (i32 1))
            (br_if @3 (i32.load FAULT))
          )
          (local.set $14 (local.tee $27 $13))
          (local.set $28 (f64x2.mul $23 $27))
          (if
            (v128.any_true
              (i64x2.eq
                (v128.and
                  (i64x2.add $23 (v128 00000000000010000000000000001000))
                  (v128 000000000000e07f000000000000e07f))
                (v128 00000000000000000000000000000000)))
            (if
              (i32.eqz
                (i8x16.all_true
                  (v128.or
                    (f64x2.ge (f64x2.abs $23) (f64x2.splat (f64 2.2250738585072014e-308)))
                    (f64x2.eq $23 (f64x2.splat (f64 0))))))
              (i32.store FAULT (i32 513))
              (i32.store FAULT_ERROR (i32 uop+0x0))
              (i32.store CURRENT_UOP (i32 place+0x20040))
              (i32.store FAULT_NOTE (i32 2))
              (br @3)
            )
          )
          (if
            (v128.any_true
              (i64x2.eq
                (v128.and
                  (i64x2.add $27 (v128 00000000000010000000000000001000))
                  (v128 000000000000e07f000000000000e07f))
                (v128 00000000000000000000000000000000)))
            (if
              (i32.eqz
                (i8x16.all_true
                  (v128.or
                    (f64x2.ge (f64x2.abs $27) (f64x2.splat (f64 2.2250738585072014e-308)))
                    (f64x2.eq $27 (f64x2.splat (f64 0))))))
              (i32.store FAULT (i32 513))
              (i32.store FAULT_ERROR (i32 uop+0x0))
              (i32.store CURRENT_UOP (i32 place+0x20040))
              (i32.store FAULT_NOTE (i32 2))
              (br @3)
            )
          )
          (if
            (v128.any_true
              (i64x2.eq
                (v128.and
                  (i64x2.add $28 (v128 00000000000020000000000000002000))
                  (v128 000000000000c07f000000000000c07f))
                (v128 00000000000000000000000000000000)))
            (if
              (i32.eqz
                (i8x16.all_true
                  (v128.or
                    (v128.and
                      (f64x2.gt (local.tee $29 (f64x2.abs $28)) (f64x2.splat (f64 2.2250738585072014e-308)))
                      (f64x2.lt $29 (f64x2.splat (f64 Infinity))))
                    (v128.and
                      (f64x2.eq $28 (f64x2.splat (f64 0)))
                      (v128.or (f64x2.eq $23 (f64x2.splat (f64 0))) (f64x2.eq $27 (f64x2.splat (f64 0))))))))
              (i32.store FAULT (i32 513))
              (i32.store FAULT_ERROR (i32 uop+0x0))
              (i32.store CURRENT_UOP (i32 place+0x20040))
              (i32.store FAULT_NOTE (i32 2))
              (br @3)
            )
          )
          (local.set $11 $28)
          (local.set $28 (f64x2.add (local.tee $27 $6) $28))
          (if
            (v128.any_true
              (i64x2.eq
                (v128.and
                  (i64x2.add $27 (v128 00000000000010000000000000001000))
                  (v128 000000000000e07f000000000000e07f))
                (v128 00000000000000000000000000000000)))
            (if
              (i32.eqz
                (i8x16.all_true
                  (v128.or
                    (f64x2.ge (f64x2.abs $27) (f64x2.splat (f64 2.2250738585072014e-308)))
                    (f64x2.eq $27 (f64x2.splat (f64 0))))))
              (i32.store FAULT (i32 513))
              (i32.store FAULT_ERROR (i32 uop+0x0))
              (i32.store CURRENT_UOP (i32 place+0x20060))
              (i32.store FAULT_NOTE (i32 3))
              (br @3)
            )
          )
          (if
            (v128.any_true
              (i64x2.eq
                (v128.and
                  (i64x2.add $28 (v128 00000000000020000000000000002000))
                  (v128 000000000000c07f000000000000c07f))
                (v128 00000000000000000000000000000000)))
            (if
              (i32.eqz
                (i8x16.all_true
                  (v128.or
                    (v128.and
                      (f64x2.gt (local.tee $27 (f64x2.abs $28)) (f64x2.splat (f64 2.2250738585072014e-308)))
                      (f64x2.lt $27 (f64x2.splat (f64 Infinity))))
                    (v128.and (f64x2.eq $28 (f64x2.splat (f64 0))) (v128 ffffffffffffffffffffffffffffffff)))))
              (i32.store FAULT (i32 513))
              (i32.store FAULT_ERROR (i32 uop+0x0))
              (i32.store CURRENT_UOP (i32 place+0x20060))
              (i32.store FAULT_NOTE (i32 3))
              (br @3)
            )
          )
          (local.set $6 $28)
          (local.set $8 (i64.add $22 (i64 16)))
          (local.set $12 (local.tee $22 (i64.add $25 (i64 16))))
          (local.set $30 (i64.extend32_s (local.tee $26 $15)))
          (local.set $26 (i64.extend_s_i32 (local.tee $21 (i32.add (i32.wrap_i64 $26) (i32 -1)))))
          (local.set $30
            (i64.or
              (i64.or (i64.extend_u_i32 (i64.lt_u $22 $25)) (i64.and (i64.xor $30 $26) (i64 16)))
              (i64.shl (i64.shr_u (i64.and $30 (i64.xor $26 (i64 -1))) (i64 63)) (i64 11))))
          (local.set $15 (i64.extend_u_i32 $21))
          (block @5
            (if (i32.eqz (i32.eqz $21))
              (local.set $2 (i32.add $2 (i32 -8)))
              (local.set $21 $2)
              (local.set $31 (i32.load EXIT_REQUEST))
              (if (i32.le_s (i32.or $21 $31) (i32 0))
                (local.set $25 $3)
                (local.set $16 (i32 2))
                (local.set $17 $30)
                (local.set $19 $26)
                (i64.store RIP $25)
                (local.set $5 (i32 0))
                (br @1)
              )
              (local.set $17 $30)
              (local.set $7 (i32 1))
              (br @4)
            )
            (if
              (i32.eqz
                (f64.lt
                  (f64.abs (local.tee $24 (f64.trunc (f64x2.extract_lane 0 $28))))
                  (f64 9223372036854776000)))
              (i32.store FAULT (i32 513))
              (i32.store FAULT_ERROR (i32 uop+0x0))
              (i32.store CURRENT_UOP (i32 place+0xa80e0))
              (i32.store FAULT_NOTE (i32 8))
              (br @5)
            )
            (local.set $20 (i64.trunc_sat_f64_s $24))
            (local.set $16 (i32 2))
            (local.set $17 $30)
            (local.set $19 $26)
            (local.set $2 (i32.add $2 (i32 -9)))
            (local.set $4 (i64 0))
            (local.set $5 (i32 uop+0x91))
            (br @1)
          )
          (local.set $16 (i32 2))
          (local.set $17 $30)
          (local.set $19 $26)
          (br @2)
        )
      )
      (if (i32.eq $7 (i32 1))
        (local.set $16 (i32 2))
        (local.set $19 (i64.extend32_s $15))
      )
    )
    (local.set $31 (i32.load FAULT_NOTE))
    (local.set $26 $3)
    (local.set $30 $8)
    (i64.store rsi $30)
    (local.set $30 $12)
    (i64.store rdi $30)
    (local.set $30 $15)
    (i64.store rcx $30)
    (local.set $30 $20)
    (i64.store rax $30)
    (local.set $28 $11)
    (v128.store xmm0 $28)
    (local.set $28 $14)
    (v128.store xmm1 $28)
    (local.set $28 $6)
    (v128.store xmm2 $28)
    (i64.store ripBase (i64.add $26 (i64.extend_s_i32 (i32.and $31 (i32 -0x1000)))))
    (local.set $21 $16)
    (i32.store FLAG_KIND $21)
    (local.set $26 $17)
    (i64.store FLAG_A $26)
    (local.set $26 $18)
    (i64.store FLAG_B $26)
    (local.set $26 $19)
    (i64.store FLAG_RESULT $26)
    (return_call $fault (i32.sub $2 (i32.and $31 (i32 0xfff))))
  )
  (local.set $26 $3)
  (local.set $30 $4)
  (local.set $25 $8)
  (i64.store rsi $25)
  (local.set $25 $12)
  (i64.store rdi $25)
  (local.set $25 $15)
  (i64.store rcx $25)
  (local.set $25 $20)
  (i64.store rax $25)
  (local.set $28 $11)
  (v128.store xmm0 $28)
  (local.set $28 $14)
  (v128.store xmm1 $28)
  (local.set $28 $6)
  (v128.store xmm2 $28)
  (i64.store ripBase (i64.add $26 $30))
  (local.set $31 $16)
  (i32.store FLAG_KIND $31)
  (local.set $30 $17)
  (i64.store FLAG_A $30)
  (local.set $30 $18)
  (i64.store FLAG_B $30)
  (local.set $30 $19)
  (i64.store FLAG_RESULT $30)
  (if (i32.gt_u (local.tee $31 $5) (i32 4))
    (local.set $21 (i32.and $31 (i32 -2)))
    (if (i32.eqz (i32.and $31 (i32 1)))
      (local.set $32 $2)
      (local.set $33 (i32.load EXIT_REQUEST))
      (if (i32.le_s (i32.or $32 $33) (i32 0))
        (local.set $30 (i64.load16_u +0x2 $21))
        (local.set $26 $3)
        (local.set $25 $4)
        (i64.store RIP (i64.add (i64.add $26 $25) (i64.and $30 (i64 0xfff))))
        (local.set $33 $2)
        (i32.store BUDGET $33)
        (return (i32 0))
      )
    )
    (if (i32.lt_u (local.tee $33 (i32.load16_u $21)) (i32 0xa5f))
      (local.set $34
        (i32.add (i32.load16_u +HEAT (local.tee $32 (i32.and (i32.shr_u $21 (i32 3)) (i32 0x1fffe)))) (i32 1)))
      (i32.store16 +HEAT $32 $34)
      (if (i32.eq (i32.and $34 (i32 0xffff)) (i32 100))
        (local.set $30 (i64.load16_u +0x2 $21))
        (local.set $25 $3)
        (local.set $26 $4)
        (i64.store RIP (i64.add (i64.add $25 $26) (i64.and $30 (i64 0xfff))))
        (local.set $34 $2)
        (i32.store BUDGET $34)
        (return (i32 5))
      )
    )
    (local.set $34 $2)
    (return_call_indirect $21 $34 $33)
  )
  (if (i32.eqz $31)
    (return_call $dispatch $2)
  )
  (local.set $33 $2)
  (i32.store BUDGET $33)
  (if (i32.eq $31 (i32 2))
    (return (i32 0))
  )
  (i32.store FAULT (i32 513))
  (i32.store FAULT_ERROR (i32 uop+0x0))
  (i32.store CURRENT_UOP (i32 0))
  (return (i32 1))
)
