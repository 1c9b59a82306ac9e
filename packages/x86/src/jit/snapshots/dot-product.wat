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
  (local f64*1 i32*8 i64*13 v128*9)
  (if (i32.load SSE_BLOCKED)
    (return_call_indirect (i32 uop+0x110) $1 $handler)
  )
  (if (i64.gt_u (i64.add (local.tee $21 (i64.load ripBase)) (i64 0x7ffe00000000)) (i64 0xfffc00000000))
    (return_call_indirect (i32 uop+0x110) $1 $handler)
  )
  (local.set $3 $21)
  (local.set $9 (i32.load TLB_BASE))
  (local.set $19 (i64.load rax))
  (local.set $14 (i64.load rcx))
  (local.set $7 (i64.load rsi))
  (local.set $11 (i64.load rdi))
  (local.set $10 (v128.load xmm0))
  (local.set $13 (v128.load xmm1))
  (local.set $6 (v128.load xmm2))
  (local.set $15 (i32.load FLAG_KIND))
  (local.set $16 (i64.load FLAG_A))
  (local.set $17 (i64.load FLAG_B))
  (local.set $18 (i64.load FLAG_RESULT))
  (local.set $20 (i32.add (i32.load16_u REGION_ENTRIES) (i32 1)))
  (i32.store16 REGION_ENTRIES $20)
  (if (i32.eq (i32.and $20 (i32 0xffff)) (i32 100))
    (local.set $21 $3)
    (i64.store RIP $21)
    (i32.store BUDGET $1)
    (return (i32 5))
  )
  (block @1
    (block @2
      (local.set $2 $1)
      (if (i32.eqz (i32.eq (i32.and (i32.load MXCSR) (i32 0xffe0)) (i32 0x1fa0)))
        (local.set $21 $3)
        (i64.store RIP $21)
        (local.set $5 (i32 4))
        (br @1)
      )
      (if
        (i32.eqz
          (i32.and
            (i32.add
              (i32.wrap_i64
                (i64.shr_u (i64.reinterpret_f64 (local.tee $23 (f64x2.extract_lane 0 $6))) (i64 32)))
              (i32 0x100000))
            (i32 0x7fe00000)))
        (if (i32.eqz (f64.eq $23 (f64.add $23 $23)))
          (local.set $21 $3)
          (i64.store RIP $21)
          (local.set $5 (i32 4))
          (br @1)
        )
      )
      (loop @3
        (local.set $21 $7)
        (if
          (i64.eq
            (local.tee $24
              (i64.load
                (local.tee $20 (i32.add $9 (i32.and (i32.shr_u (i32.wrap_i64 $21) (i32 7)) (i32 0x7fe0))))))
            (i64.and (i64.add $21 (i64 15)) (i64 -0x1000)))
          (local.set $20 (i32.load +0x10 $20))
          (local.set $8 (v128.load $ram (i32.add (i32.wrap_i64 $21) $20)))
        else
          (i64.store MISSED_TAG $24)
          (local.set $8 (call $slowLoad128 $21 (i32 place+0x20000)))
          (i32.store FAULT_NOTE (i32 0))
          (br_if @2 (i32.load FAULT))
        )
        (local.set $10 (local.tee $22 $8))
        (local.set $24 $11)
        (if
          (i64.eq
            (local.tee $25
              (i64.load
                (local.tee $20 (i32.add $9 (i32.and (i32.shr_u (i32.wrap_i64 $24) (i32 7)) (i32 0x7fe0))))))
            (i64.and (i64.add $24 (i64 15)) (i64 -0x1000)))
          (local.set $20 (i32.load +0x10 $20))
          (local.set $12 (v128.load $ram (i32.add (i32.wrap_i64 $24) $20)))
        else
          (i64.store MISSED_TAG $25)
          (local.set $12 (call $slowLoad128 $24 (i32 place+0x20020)))
          (i32.store FAULT_NOTE (i32 1))
          (br_if @2 (i32.load FAULT))
        )
        (local.set $13 (local.tee $26 $12))
        (local.set $27 (f64x2.mul $22 $26))
        (if
          (v128.any_true
            (i64x2.eq
              (v128.and
                (i64x2.add $22 (v128 00000000000010000000000000001000))
                (v128 000000000000e07f000000000000e07f))
              (v128 00000000000000000000000000000000)))
          (if
            (i32.eqz
              (i8x16.all_true
                (v128.or
                  (f64x2.ge (f64x2.abs $22) (f64x2.splat (f64 2.2250738585072014e-308)))
                  (f64x2.eq $22 (f64x2.splat (f64 0))))))
            (i32.store FAULT (i32 513))
            (i32.store FAULT_ERROR (i32 uop+0x110))
            (i32.store CURRENT_UOP (i32 place+0x20040))
            (i32.store FAULT_NOTE (i32 2))
            (br @2)
          )
        )
        (if
          (v128.any_true
            (i64x2.eq
              (v128.and
                (i64x2.add $26 (v128 00000000000010000000000000001000))
                (v128 000000000000e07f000000000000e07f))
              (v128 00000000000000000000000000000000)))
          (if
            (i32.eqz
              (i8x16.all_true
                (v128.or
                  (f64x2.ge (f64x2.abs $26) (f64x2.splat (f64 2.2250738585072014e-308)))
                  (f64x2.eq $26 (f64x2.splat (f64 0))))))
            (i32.store FAULT (i32 513))
            (i32.store FAULT_ERROR (i32 uop+0x110))
            (i32.store CURRENT_UOP (i32 place+0x20040))
            (i32.store FAULT_NOTE (i32 2))
            (br @2)
          )
        )
        (if
          (v128.any_true
            (i64x2.eq
              (v128.and
                (i64x2.add $27 (v128 00000000000020000000000000002000))
                (v128 000000000000c07f000000000000c07f))
              (v128 00000000000000000000000000000000)))
          (if
            (i32.eqz
              (i8x16.all_true
                (v128.or
                  (v128.and
                    (f64x2.gt (local.tee $28 (f64x2.abs $27)) (f64x2.splat (f64 2.2250738585072014e-308)))
                    (f64x2.lt $28 (f64x2.splat (f64 Infinity))))
                  (v128.and
                    (f64x2.eq $27 (f64x2.splat (f64 0)))
                    (v128.or (f64x2.eq $22 (f64x2.splat (f64 0))) (f64x2.eq $26 (f64x2.splat (f64 0))))))))
            (i32.store FAULT (i32 513))
            (i32.store FAULT_ERROR (i32 uop+0x110))
            (i32.store CURRENT_UOP (i32 place+0x20040))
            (i32.store FAULT_NOTE (i32 2))
            (br @2)
          )
        )
        (local.set $10 $27)
        (local.set $27 (f64x2.add (local.tee $26 $6) $27))
        (if
          (v128.any_true
            (i64x2.eq
              (v128.and
                (i64x2.add $26 (v128 00000000000010000000000000001000))
                (v128 000000000000e07f000000000000e07f))
              (v128 00000000000000000000000000000000)))
          (if
            (i32.eqz
              (i8x16.all_true
                (v128.or
                  (f64x2.ge (f64x2.abs $26) (f64x2.splat (f64 2.2250738585072014e-308)))
                  (f64x2.eq $26 (f64x2.splat (f64 0))))))
            (i32.store FAULT (i32 513))
            (i32.store FAULT_ERROR (i32 uop+0x110))
            (i32.store CURRENT_UOP (i32 place+0x20060))
            (i32.store FAULT_NOTE (i32 3))
            (br @2)
          )
        )
        (if
          (v128.any_true
            (i64x2.eq
              (v128.and
                (i64x2.add $27 (v128 00000000000020000000000000002000))
                (v128 000000000000c07f000000000000c07f))
              (v128 00000000000000000000000000000000)))
          (if
            (i32.eqz
              (i8x16.all_true
                (v128.or
                  (v128.and
                    (f64x2.gt (local.tee $26 (f64x2.abs $27)) (f64x2.splat (f64 2.2250738585072014e-308)))
                    (f64x2.lt $26 (f64x2.splat (f64 Infinity))))
                  (v128.and (f64x2.eq $27 (f64x2.splat (f64 0))) (v128 ffffffffffffffffffffffffffffffff)))))
            (i32.store FAULT (i32 513))
            (i32.store FAULT_ERROR (i32 uop+0x110))
            (i32.store CURRENT_UOP (i32 place+0x20060))
            (i32.store FAULT_NOTE (i32 3))
            (br @2)
          )
        )
        (local.set $6 $27)
        (local.set $7 (i64.add $21 (i64 16)))
        (local.set $11 (local.tee $21 (i64.add $24 (i64 16))))
        (local.set $29 (i64.extend32_s (local.tee $25 $14)))
        (local.set $25 (i64.extend_s_i32 (local.tee $20 (i32.add (i32.wrap_i64 $25) (i32 -1)))))
        (local.set $29
          (i64.or
            (i64.or (i64.extend_u_i32 (i64.lt_u $21 $24)) (i64.and (i64.xor $29 $25) (i64 16)))
            (i64.shl (i64.shr_u (i64.and $29 (i64.xor $25 (i64 -1))) (i64 63)) (i64 11))))
        (local.set $14 (i64.extend_u_i32 $20))
        (block @4
          (if (i32.eqz (i32.eqz $20))
            (local.set $15 (i32 2))
            (local.set $16 $29)
            (local.set $18 $25)
            (local.set $2 (i32.sub $2 (i32 8)))
            (local.set $20 $2)
            (local.set $30 (i32.load EXIT_REQUEST))
            (if (i32.le_s (i32.or $20 $30) (i32 0))
              (local.set $24 $3)
              (i64.store RIP $24)
              (local.set $5 (i32 0))
              (br @1)
            )
            (br @3)
          )
          (if
            (i32.eqz
              (f64.lt
                (f64.abs (local.tee $23 (f64.trunc (f64x2.extract_lane 0 $27))))
                (f64 9223372036854776000)))
            (i32.store FAULT (i32 513))
            (i32.store FAULT_ERROR (i32 uop+0x110))
            (i32.store CURRENT_UOP (i32 place+0xa80e0))
            (i32.store FAULT_NOTE (i32 8))
            (br @4)
          )
          (local.set $19 (i64.trunc_sat_f64_s $23))
          (local.set $15 (i32 2))
          (local.set $16 $29)
          (local.set $18 $25)
          (local.set $2 (i32.sub $2 (i32 9)))
          (local.set $4 (i64 0))
          (local.set $5 (i32 uop+0x1a1))
          (br @1)
        )
        (local.set $15 (i32 2))
        (local.set $16 $29)
        (local.set $18 $25)
        (br @2)
      )
    )
    (local.set $30 (i32.load FAULT_NOTE))
    (local.set $25 $3)
    (local.set $29 $7)
    (i64.store rsi $29)
    (local.set $29 $11)
    (i64.store rdi $29)
    (local.set $29 $14)
    (i64.store rcx $29)
    (local.set $29 $19)
    (i64.store rax $29)
    (local.set $27 $10)
    (v128.store xmm0 $27)
    (local.set $27 $13)
    (v128.store xmm1 $27)
    (local.set $27 $6)
    (v128.store xmm2 $27)
    (i64.store ripBase (i64.add $25 (i64.extend_s_i32 (i32.and $30 (i32 -0x1000)))))
    (local.set $20 $15)
    (i32.store FLAG_KIND $20)
    (local.set $25 $16)
    (i64.store FLAG_A $25)
    (local.set $25 $17)
    (i64.store FLAG_B $25)
    (local.set $25 $18)
    (i64.store FLAG_RESULT $25)
    (return_call $fault (i32.sub $2 (i32.and $30 (i32 0xfff))))
  )
  (local.set $25 $3)
  (local.set $29 $4)
  (local.set $24 $7)
  (i64.store rsi $24)
  (local.set $24 $11)
  (i64.store rdi $24)
  (local.set $24 $14)
  (i64.store rcx $24)
  (local.set $24 $19)
  (i64.store rax $24)
  (local.set $27 $10)
  (v128.store xmm0 $27)
  (local.set $27 $13)
  (v128.store xmm1 $27)
  (local.set $27 $6)
  (v128.store xmm2 $27)
  (i64.store ripBase (i64.add $25 $29))
  (local.set $30 $15)
  (i32.store FLAG_KIND $30)
  (local.set $29 $16)
  (i64.store FLAG_A $29)
  (local.set $29 $17)
  (i64.store FLAG_B $29)
  (local.set $29 $18)
  (i64.store FLAG_RESULT $29)
  (if (i32.eq (local.tee $30 $5) (i32 2))
    (local.set $20 $2)
    (i32.store BUDGET $20)
    (return (i32 0))
  )
  (if (i32.eq $30 (i32 4))
    (i32.store FAULT (i32 513))
    (i32.store FAULT_ERROR (i32 uop+0x110))
    (i32.store CURRENT_UOP (i32 0))
    (local.set $20 $2)
    (i32.store BUDGET $20)
    (return (i32 1))
  )
  (if (i32.eqz $30)
    (return_call $dispatch $2)
  )
  (local.set $20 (i32.and $30 (i32 -2)))
  (local.set $31 $2)
  (local.set $32 (i32.load EXIT_REQUEST))
  (if (i32.and (i32.le_s (i32.or $31 $32) (i32 0)) (i32.eq $30 $20))
    (local.set $29 (i64.load16_u +0x2 $20))
    (local.set $25 $3)
    (local.set $24 $4)
    (i64.store RIP (i64.add (i64.add $25 $24) (i64.and $29 (i64 0xfff))))
    (local.set $30 $2)
    (i32.store BUDGET $30)
    (return (i32 0))
  )
  (local.set $30 (i32.load16_u $20))
  (local.set $32 $2)
  (return_call_indirect $20 $32 $30)
)
